"""Commands that use the results of a run; those that run a Trainer are in `cli.py`.

One file per command, found by its name (`command_line/tools.py`). Its docstring is the head of its help page; it has

    EXAMPLES                    command lines, for the help page
    add_arguments(parser)       adds its arguments to an `argparse.ArgumentParser`
    run(options)                does it; raises ValueError or OSError for what a user can fix
    TAKES_FLAGS_OF_FIT          if true, options it does not know are in `options.flags`

Nothing that takes long to import is imported at the top of such a file, so that help and mistakes are answered at once.
"""
