"""Exports of a trained model (`oneforall export`) to the formats of other programs, one module per format."""
