"""Callbacks: they observe a run and write into its folder."""
