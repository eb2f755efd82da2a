"""Several trainings in a row: over a search space (`oneforall sweep`), seeds or batch sizes (flags of `oneforall fit`).

Each training is an ordinary `oneforall fit` in a process of its own, which could be repeated by hand.
"""
