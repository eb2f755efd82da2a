"""What a model predicted or generated, as files."""
