"""Numbers of other people's programs, run in .venv-peers (`make peers`)."""
