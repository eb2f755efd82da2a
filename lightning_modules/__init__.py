"""LightningModules: what is optimised in training, and how it is scored."""
