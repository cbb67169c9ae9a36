"""The same paths over a recorded log: replay, metrics, baselines."""
