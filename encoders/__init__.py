"""From media and text to vectors, and from events to a user's state."""
