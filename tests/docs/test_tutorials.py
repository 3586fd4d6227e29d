"""The tutorials are run word for word, and what a command prints is compared with the text."""

import re
import runpy
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TUTORIALS = sorted((ROOT / "docs").glob("tutorial_*.md"))
HOME = "/home/me"  # stands for the folder the reader is in


def files_and_commands(document: Path) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Python files to save, by their names, and pairs of a command and what it prints."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    files, commands = {}, []
    for kind, text in blocks:
        if kind == "python":
            name, content = re.fullmatch(r"# (\S+\.py)\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
            files[name] = content
        elif kind == "console":
            joined = text.replace("\\\n", "")  # a command may go on in the next line
            commands += re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", joined, re.MULTILINE)
    return files, commands


def run(command: str, bench: Any) -> str:
    """What a command prints, without progress bars; for one that fails, its message."""
    program, *words = shlex.split(command)
    if program == "slade-bench":
        outcome = bench.run_words(words)
        return str(outcome.out or outcome.err)
    if program == "python":
        runpy.run_path(words[0], run_name="__main__")
        return ""
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


def check(found: str, expected: str) -> None:
    """Scores may be off by the rounding of another machine; all other words may not.

    With 16 images of val, rounding that decides one query is worth 6.25.
    """
    # The width of a column and the sizes of clusters follow from such numbers.
    found, expected = (
        re.sub(r"\d+ to \d+ images", "# to # images", re.sub(r"-{3,}", "---", text)).split()
        for text in (found, expected)
    )
    decimal = re.compile(r"\d+\.\d+")
    assert [decimal.sub("#", word) for word in found] == [
        decimal.sub("#", word) for word in expected
    ]
    scores = [
        [float(x) for word in words for x in decimal.findall(word)] for words in (found, expected)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=7)


def test_there_is_a_tutorial() -> None:
    assert "tutorial_own_data.md" in [path.name for path in TUTORIALS]


@pytest.mark.parametrize("document", TUTORIALS, ids=lambda path: path.stem)
def test_every_command_prints_what_is_written(
    document: Path, bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files, commands = files_and_commands(document)
    assert len(commands) > 3
    for name, content in files.items():
        Path(name).write_text(content, encoding="utf-8")
    for command, expected in commands:
        check(run(command, bench).replace(str(tmp_path), HOME), expected)


@pytest.mark.parametrize(
    ("found", "same"),
    [("a 1.04 of 3", True), ("a 1.94  of 3", True), ("a 9.94 of 3", False), ("a 1.04 of 4", False)],
)
def test_what_counts_as_the_same(found: str, same: bool) -> None:
    if same:
        check(found, "a 1.00 of 3\n")
    else:
        with pytest.raises(AssertionError):
            check(found, "a 1.00 of 3\n")
