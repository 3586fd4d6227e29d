"""Commands of the command line besides the host's own; `cli.COMMANDS` names them."""

from slade_plugin.base.machine import prepare_process

# One that is started with `python -m` loads torch before its `main` is called.
prepare_process()
