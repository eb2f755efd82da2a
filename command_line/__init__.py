"""What `cli.py` is built of: the parser, config files, errors in one line, and the set-up of the process."""
