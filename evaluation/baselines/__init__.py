"""What people would use instead, tuned on the history alone.

Each is a `Scorer` (evaluation/baselines/scorer.py): a score an item; `Ranked` makes it a
`Recommender`. Settings stand beside their reasons in evaluation/registry.py.
"""
