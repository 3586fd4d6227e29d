"""Runs the benchmarker with the SLADE plugin: ``python run.py --config_loss slade``."""

import sys

from slade_plugin.cli import main

if __name__ == "__main__":
    sys.exit(main())
