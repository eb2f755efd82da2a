"""Hand-written T5: model, loss, decoding, and the format of published weights."""
