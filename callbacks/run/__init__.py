"""The run folder: config, metrics, checkpoints, summary."""
