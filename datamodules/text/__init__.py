"""Parts of the text datamodules: tasks, tokenizers, epoch plan, bucketing, collation, streams of characters."""
