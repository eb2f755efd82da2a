"""Files with what a model predicted or generated."""
