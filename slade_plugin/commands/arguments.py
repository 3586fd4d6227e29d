"""Build the argument parsers of the commands and check numbers."""

import argparse

from slade_plugin.base.errors import ConfigError

EXIT_PROBLEM = 1  # of a command that checks something and found a problem


def command_parser(
    name: str, description: str | None, epilog: str | None = None
) -> argparse.ArgumentParser:
    """Return an argument parser that takes no abbreviated flags.

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


def check_at_least(flag: str, value: int, least: int) -> None:
    """Check the number given to a flag.

    Args:
        flag: As it is typed, such as ``--seed``.
        value: What was given.
        least: The smallest valid value.

    Raises:
        ConfigError: If it is smaller.
    """
    if value < least:
        raise ConfigError(f"{flag} is {value}; expected {least} or more.")
