"""What `cli.py` is built of: the parser, config files, errors in one line, and the set-up of the process.

An error of the parser goes to `errors.py`. What it says of an unknown option is in `options.py`, of a class in
`classes.py`, of a value in `jsonargparse_messages.py`, of a command in `mistakes.py`; `sources.py` finds file and line.
"""
