"""Several trainings in a row: over a search space (`oneforall sweep`) or over seeds (`oneforall fit --seeds 0..4`).

Each training is an ordinary `oneforall fit` in a process of its own, which could be repeated by hand.
"""
