"""The tutorials are run word for word, and what a command prints is compared with the text."""

import doctest
import io
import re
import runpy
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
OWN_DATA = ROOT / "docs" / "tutorial_own_data.md"
USING_A_MODEL = ROOT / "docs" / "using_a_model.md"
KINDS = ("file", "command", "python")
HOME = "/home/me"  # stands for the folder the reader is in


class Step(NamedTuple):
    """What a reader does: saves a file, types a command, or types into Python.

    Attributes:
        kind: One of KINDS.
        name: Of the file, or the command.
        text: What is in the file, what the command prints, or the lines of Python.
    """

    kind: str
    name: str
    text: str


def steps_of(document: Path) -> Iterator[Step]:
    """The steps in their order; blocks of other kinds are not run."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    for kind, text in blocks:
        if kind == "python" and text.startswith(">>>"):
            yield Step("python", "", text)
        elif kind == "python":
            name, content = re.fullmatch(r"# (\S+\.py)\n(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
            yield Step("file", name, content)
        elif kind == "console":
            joined = text.replace("\\\n", "")  # a command may go on in the next line
            for command, printed in re.findall(
                r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", joined, re.MULTILINE
            ):
                yield Step("command", command, printed)


def run(command: str, bench: Any) -> str:
    """What a command prints, without progress; for one that fails, its message."""
    program, *words = shlex.split(command)
    if program == "slade-bench":
        outcome = bench.run_words(words)
        printed = re.sub(r"^ +\[\d/\d\] .*\n", "", outcome.out or outcome.err, flags=re.MULTILINE)
        return printed.replace("python run.py", program)
    if program == "python":
        with redirect_stdout(io.StringIO()) as printed:
            runpy.run_path(words[0], run_name="__main__")
        return printed.getvalue()
    return subprocess.run([program, *words], check=True, capture_output=True, text=True).stdout


def check(found: str, expected: str) -> None:
    """Scores may be off by the rounding of another machine; all other words may not.

    With 16 images of val, rounding that decides one query is worth 6.25.
    """
    # The width of a column and the sizes of clusters follow from such numbers.
    found, expected = (
        re.sub(r"\d+ to \d+ images", "# to # images", re.sub(r"-{3,}", "---", text)).split()
        for text in (without_rounding(found), without_rounding(expected))
    )
    decimal = re.compile(r"\d+\.\d+")
    assert [decimal.sub("#", word) for word in found] == [
        decimal.sub("#", word) for word in expected
    ]
    scores = [
        [float(x) for word in words for x in decimal.findall(word)] for words in (found, expected)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=7)


def without_rounding(text: str) -> str:
    """Without tiny numbers, and the images that a search found, of nearly equal scores."""
    text = re.sub(r"\d\.\de-\d\d", "#", text)
    return re.sub(r"^( +\d+ +-?\d\.\d{3}) .*$", r"\1", text, flags=re.MULTILINE)


def follow(document: Path, bench: Any) -> None:
    """Does what a document says in the current folder, and compares what it promises."""
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(verbose=False)
    for number, step in enumerate(steps_of(document)):
        if step.kind == "file":
            Path(step.name).write_text(step.text, encoding="utf-8")
        elif step.kind == "command":
            printed = run(step.name, bench).replace(str(Path.cwd()), HOME)
            check(printed, step.text)
        else:
            test = doctest.DocTestParser().get_doctest(
                step.text, names, f"{document.name}, step {number}", str(document), 0
            )
            complaints: list[str] = []
            runner.run(test, out=complaints.append, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0, "".join(complaints)
            names = test.globs


@pytest.mark.slow
def test_every_command_prints_what_is_written(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second page continues the first, whose last part damages an image."""
    monkeypatch.chdir(tmp_path)
    for document, kinds in ((OWN_DATA, {"file", "command"}), (USING_A_MODEL, set(KINDS))):
        assert {step.kind for step in steps_of(document)} == kinds
        follow(document, bench)
        run("python make_images.py", bench)


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
