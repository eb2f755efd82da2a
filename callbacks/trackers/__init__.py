"""Experiment trackers, W&B and TensorBoard: what they receive of a run."""
