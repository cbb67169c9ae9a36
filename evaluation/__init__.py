"""The same paths over a recorded log."""
