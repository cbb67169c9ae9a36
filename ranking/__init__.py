"""From a user's vector and candidates to a list with reasons."""
