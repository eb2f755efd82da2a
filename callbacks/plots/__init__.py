"""Plots in the run folder."""
