"""The commands of `slade-bench`, one per file; `cli.COMMANDS` lists them.

Each has `main(argv)`, which takes the words after the command's name and returns the exit code (0
unless its docstring names others), and `argument_parser()`, whose description is the module's
docstring. For a mistake that its message explains, `main` raises a SladeError before it writes.
"""
