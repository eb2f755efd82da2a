"""Building blocks of `cli.py`: the parser, config files, errors in one line, and the set-up of the process.

A mistake becomes one line in two places. Before the imports, which take seconds, `start.py` asks `mistakes.py` about
the command and its files. After them, `main` in `cli.py` asks `errors.py`: `parser_reports.py` takes an error of the
parser apart, `options.py` explains an unknown option, `classes.py` a class, `jsonargparse_messages.py` a value, and
`sources.py` finds file and line. `error_line.py` prints it.
"""
