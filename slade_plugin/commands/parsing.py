"""The argument parser that every command of `slade-bench` begins with."""

import argparse


def command_parser(
    name: str, description: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """A parser without words yet, which takes no abbreviated flags.

    Args:
        name: Of the command.
        description: Its module's docstring, printed by --help as it is written.
        epilog: Printed below the flags.
    """
    return argparse.ArgumentParser(
        prog=f"slade-bench {name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=epilog,
        allow_abbrev=False,
    )
