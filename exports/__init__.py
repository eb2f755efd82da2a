"""What `oneforall export` writes: a trained model in the format of another program, one file per format."""
