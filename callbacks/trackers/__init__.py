"""W&B and TensorBoard: what they get of a run, once a checkpoint covers it."""
