import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.commands import reproduce
from slade_plugin.experiments.reproduction.evaluated_run import EVALUATED

WORDS = ("main-table", "--dataset", "glyphs")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "dataset", ["glyphs", "cub200_nabirds", "cars196_compcars", "in_shop_fashion200k"]
)
def test_a_dry_run_prints_every_command_and_does_nothing(
    dataset: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["main-table", "--dataset", dataset, "--dry-run", "--no-probe"]) == 0
    text = capsys.readouterr().out
    # Of 19 rows 4 are teachers of others' runs, and one is quoted.
    assert text.count("    python run.py ") == 14
    assert "T2, S2, seed 0" in text
    assert "proxy_anchor_1: not run, a number of the Proxy-Anchor paper" in text
    assert list(folder.iterdir()) == []
    if dataset != "glyphs":  # committed, with the hours
        page = Path(__file__).parents[2] / "docs" / "results" / f"dry_run_{dataset}.txt"
        head, _, committed = page.read_text(encoding="utf-8").partition("\n\n")
        command = f"$ slade-bench reproduce main-table --dataset {dataset} --dry-run"
        assert head.splitlines()[0] == command
        hours = re.compile(r": (about|at most) [\d,.]+ (core|GPU) hours$", re.M)
        assert len(hours.findall(committed)) == 14
        assert hours.sub("", committed).partition("All: ")[0] == text


def test_a_dry_run_estimates_hours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main([*WORDS, "--dry-run", "--rows", "S1,fast_ap"]) == 0
    text = capsys.readouterr().out
    assert "S1, seed 0: about " in text
    assert "All: " in text
    assert "Estimated from training steps on random images" in text


def test_a_row_is_run_once(
    bench: Any, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole way, in a process of its own."""
    monkeypatch.setenv("PYTHONPATH", str(Path(reproduce.__file__).parents[2]))
    words = [*WORDS, "--rows", "fast_ap", "--no-probe", "--", "--dataset_root"]
    words += [str(bench.dataset_root), *bench.tiny().split()]
    assert reproduce.main(words) == 0
    text = capsys.readouterr().out
    (marker,) = folder.rglob(EVALUATED)
    assert f"fast_ap, seed 0: {marker.parent / 'experiment'}" in text
    assert "concatenated" in text  # the table
    assert "FastAP" in text  # by the poster's name
    changed = marker.stat().st_mtime_ns
    assert reproduce.main([*WORDS, "--out", "t.csv", *words[len(WORDS) :]]) == 0
    assert "fast_ap, seed 0: done" in capsys.readouterr().out
    _, *lines = (folder / "t.csv").read_text().splitlines()
    beginnings = [line.split(",")[:4] for line in lines]
    assert beginnings == [["Glyphs", "FastAP", "test", k] for k in ("separated", "concatenated")]
    assert marker.stat().st_mtime_ns == changed


def test_failed_runs_are_named(
    stub_runs: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub_runs.behave(fast_ap=9)
    monkeypatch.setattr(reproduce, "PROGRAM", stub_runs.program)
    with pytest.raises(ExperimentError, match="glyphs seed0 fast_ap ended with exit code 9"):
        reproduce.main([*WORDS, "--rows", "fast_ap", "--no-probe"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--jobs", "0"], "--jobs is 0; expected 1 or more"),
        (["--seeds", "0"], "--seeds is 0; expected 1 or more"),
        (["--out", "t.pdf"], "--out is t.pdf; expected a file that ends in .md"),
        (["--rows", "S1", "--", "--sed", "3"], "S1 on glyphs: --sed is no flag"),
        (["--", "--seed", "3"], "--seed: the study itself says this"),
    ],
)
def test_mistakes_end_it_before_anything_is_run(
    words: list[str], message: str, folder: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        reproduce.main([*WORDS, *words])
    assert list(folder.iterdir()) == []


def test_the_commands_of_the_page_are_read() -> None:
    page = Path(__file__).parents[2] / "docs" / "reproduce.md"
    lines = re.findall(r"^slade-bench reproduce (.*)$", page.read_text(encoding="utf-8"), re.M)
    assert len(lines) >= 3
    for line in lines:
        words = shlex.split(line.partition(" -- ")[0])
        assert reproduce.parser().parse_args(words).table == "main-table"
