import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.arguments import check_at_least, command_parser


def test_help_prints_the_description_as_it_is_written() -> None:
    text = command_parser(
        "results", "One line.\n\n    an example\n", "-- FLAGS  others"
    ).format_help()
    assert text.startswith("usage: slade-bench results ")
    assert "One line.\n\n    an example\n" in text
    assert text.endswith("-- FLAGS  others\n")


def test_flags_are_not_abbreviated() -> None:
    parser = command_parser("results", None)
    parser.add_argument("--split")
    with pytest.raises(SystemExit):
        parser.parse_args(["--spl", "val"])


def test_a_number_may_be_the_least_and_not_below() -> None:
    check_at_least("--seed", 0, 0)
    with pytest.raises(ConfigError, match=r"^--seed is -1; expected 0 or more\.$"):
        check_at_least("--seed", -1, 0)
