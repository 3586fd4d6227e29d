"""Commands of the command line besides the host's own; `cli.COMMANDS` names them."""
