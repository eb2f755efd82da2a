"""Observers: they watch a run and write what people look at into its folder."""
