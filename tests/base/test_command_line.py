"""Words as a shell passes them on: paths and names are text, all else is YAML."""

import sys
from typing import Any

import pytest

from slade_plugin.base.command_line import TEXT_FLAGS, CommandLine, command_line
from slade_plugin.base.errors import ConfigError

STRANGE = [
    "[2024] Holiday pics", "{raw} pics", "./[a, b]", "{a: b}", "[try] one", "two  spaces", " x ",
    "a: b", "a:b", "C:\\data", "it's", 'say "x"', "a, b", "#1", "ü Ω 写真", "no", "007", "1e-6",
    "null", "~", "true", "*", "&a", "%d", "a=b", "- a b", "a]b", "(", "!x",
]  # fmt: skip


def read(*words: str) -> dict[str, Any]:
    return vars(CommandLine().parse_known_args(list(words))[0])


@pytest.mark.parametrize("flag", TEXT_FLAGS)
@pytest.mark.parametrize("text", STRANGE)
def test_paths_and_names_are_taken_as_they_are_written(flag: str, text: str) -> None:
    assert read(flag, text, "--dataset", "{A: {}}")[flag[2:]] == text
    assert read("--dataset", "{A: {}}", f"{flag}={text}")[flag[2:]] == text


@pytest.mark.parametrize("text", ["-x", "--x"])
def test_a_leading_dash_needs_an_equals_sign(text: str) -> None:
    assert read(f"--labeled={text}")["labeled"] == text
    with pytest.raises(ConfigError, match="begins with a dash is written --FLAG=VALUE"):
        read("--labeled", text)


@pytest.mark.parametrize("text", ["", " "])
def test_an_empty_name_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--labeled is empty; expected a path or a name"):
        read(f"--labeled={text}")


@pytest.mark.parametrize("path", [t for t in STRANGE if "'" not in t])
def test_a_quoted_path_in_braces_is_kept(path: str) -> None:
    value = f"{{FolderImages: {{path: '{path}', option: [1, 2]}}}}"
    expected = {"FolderImages": {"path": path, "option": [1, 2]}}
    assert read("--dataset", value)["dataset"] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], True),
        (["{x:", "1,", "y:", "[2,", "3]}"], {"x": 1, "y": [2, 3]}),
        (["{x: 1, y: [2, 3]}"], {"x": 1, "y": [2, 3]}),
        (["[val, test]"], ["val", "test"]),
        (["3"], 3),
        (["-3"], -3),
        (["False"], False),
        (["null"], None),
        (["two words"], "two words"),
        (["{}"], {}),
    ],
)
def test_other_values_are_yaml(words: list[str], expected: Any) -> None:
    assert read("--trainer~APPLY~2", *words)["trainer~APPLY~2"] == expected


def test_names_of_configs_stay_text() -> None:
    assert read("--config_loss", "no")["config_loss"] == "no"
    assert read("--every.config_loss", "007")["every.config_loss"] == "007"
    assert read("--config_loss", "[default, null, 1e-6]")["config_loss"] == [
        "default", "null", "1e-6",
    ]  # fmt: skip


def test_the_last_of_equal_flags_counts_and_all_are_known() -> None:
    parser = CommandLine()
    found, left = parser.parse_known_args(["--seed", "1", "--a", "1", "--b", "{c: 2}", "--a", "3"])
    assert (found.a, found.b, found.seed, left) == (3, {"c": 2}, 1, [])
    assert parser.config_flags == ["--a", "--b", "--a"]


def test_a_key_and_its_value_may_be_one_word() -> None:
    assert read("--a=5", "--b={c: d=e}") == read("--a", "5", "--b", "{c: d=e}")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["x"], 'x is missing its leading "--"'),
        (["--a", "x", "y"], "y, after the value of --a, is missing its leading"),
        (["--a", "{x:1}"], "Put a space after the colon in '{x:1}'"),
        (["--a", "{x: [1}"], r"bracket imbalance: 1 of \[ and 0 of \]"),
        (["--a", "{x: y: z}"], "while parsing"),
        (["--seed", "x"], "invalid int value"),
    ],
)
def test_what_cannot_be_read_is_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(*words)


def test_the_command_line_of_the_process_is_put_back() -> None:
    before = list(sys.argv)
    with command_line("--seed", "3"):
        assert sys.argv == ["run.py", "--seed", "3"]
    assert sys.argv == before
    with pytest.raises(ConfigError, match="stop"), command_line():
        raise ConfigError("stop")
    assert sys.argv == before
