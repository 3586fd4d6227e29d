"""The three commands of docs/leaderboard.md, and the records of the repository."""

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.files import write_json
from slade_plugin.commands import study
from slade_plugin.experiments.leaderboard.checks import read_records
from slade_plugin.experiments.studies.evaluated_run import train_and_evaluate
from slade_plugin.experiments.studies.plan import Run

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")


def test_every_record_of_the_repository_passes_all_checks() -> None:
    _, problems = read_records(ROOT / "leaderboard")
    assert problems == {}


@pytest.mark.slow
def test_a_result_is_added_by_three_commands(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Word for word, but for small runs, which this process trains in place of others."""

    def execute(runs: Iterable[Run]) -> list[Any]:
        for run in runs:
            run.folder.mkdir(parents=True)
            write_json(run.folder / "run.json", run.description())
            code = train_and_evaluate(run.command(), lambda: bench.run_words(sys.argv[1:]).code)
            assert code == 0
        return []

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "read_executor", lambda args: execute)
    monkeypatch.setattr(sys, "argv", ["slade-bench"])
    (file,) = re.findall(r"as `(\w+\.yaml)`", PAGE)
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    Path(file).write_text(text, encoding="utf-8")
    (block,) = re.findall(r"```\n(slade-bench study.*?)```", PAGE, re.DOTALL)
    words = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [command[0] for command in words] == ["study", "record", "leaderboard"]
    assert not (ROOT / words[1][2]).exists()  # it would be refused
    data = ["--dataset_root", str(bench.dataset_root)]
    words[0][words[0].index("--seeds") + 1] = "2"
    words[0] += ["--", *data, *shlex.split(_quoted(bench.tiny()))]
    words[1] += data
    for command in words:
        outcome = bench.run_words(command)
        assert outcome.code == 0, outcome.err
    assert outcome.out == "leaderboard: 1 records, all checks passed.\n"
    page = bench.run_words(["leaderboard", "leaderboard"])
    assert "## Glyphs, conv4, 16-d, new classes for each seed" in page.out
    assert "[Triplet (MLRC)](leaderboard/glyphs_triplet_mlrc/record.json)" in page.out
    (record,) = read_records(Path("leaderboard"))[0].values()
    first, second = (run["classes"] for run in record["runs"])
    assert first != second
    at = words[0].index("--")
    flags = ["--no-run", "--records", "every", "--budget", "0 trials"]
    outcome = bench.run_words([*words[0][:at], *flags, *words[0][at:]])
    assert outcome.out.endswith("\nevery/glyphs_triplet: written\n"), outcome.err
    (again,) = read_records(Path("every"))[0].values()
    assert [run["scores"] for run in again["runs"]] == [run["scores"] for run in record["runs"]]


def _quoted(flags: str) -> str:
    """Values in braces as one word, as a shell needs them."""
    return re.sub(r" (\{.*?\})(?= --|$)", r" '\1'", flags)
