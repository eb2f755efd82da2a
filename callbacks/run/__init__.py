"""What a run keeps in its folder: config, metrics, checkpoints, summary."""
