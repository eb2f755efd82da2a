"""T5, written by hand: model, loss, decoding, and the published weight format."""
