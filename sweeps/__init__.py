"""Series of runs: over a search space (`oneforall sweep`), seeds or batch sizes (flags of `oneforall fit`).

Each run is an ordinary `oneforall fit` in its own process, which could be repeated by hand.
"""
