"""Where batches come from: uint8 images or token ids, reproducible from (seed, epoch, step, rank)."""
