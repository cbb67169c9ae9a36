"""Content and users into vectors: tensors in, tensors out. No broker, no store, no clock."""
