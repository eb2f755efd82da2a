"""Building blocks of `cli.py`: the parser, config files, errors in one line, and the set-up of the process.

An error of the parser goes to `errors.py`. What it says about an unknown option is in `options.py`, about a class in
`classes.py`, a value in `jsonargparse_messages.py`, a command in `mistakes.py`; `sources.py` finds file and line.
"""
