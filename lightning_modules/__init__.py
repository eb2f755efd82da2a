"""The training step and the metrics: what is optimised and how it is scored."""
