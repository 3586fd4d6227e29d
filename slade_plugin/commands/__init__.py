"""The commands of `slade-bench`, one per file; `cli.COMMANDS` lists them."""
