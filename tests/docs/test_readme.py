"""The documents say what is true: their commands are read by the real runner, their links exist."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from slade_plugin import cli
from slade_plugin.commands import data, study
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.search.trial import SpaceRunner
from slade_plugin.host.validation import check_args
from slade_plugin.runner import SladeRunner

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Their configs are saved in an experiment that a reader has and this test has not.
NEEDS_EXPERIMENT = ("--evaluate", "--evaluate_ensemble", "--reproduce_results", "--list")
NEEDS_MODULE = "--plugins"  # run by test_extending.py
RESULT_COMMANDS = {"compare", "leaderboard", "pairs", "record", "results", "verify-record"}
RESULT_COMMANDS |= {"evaluate", "export-model", "index", "search"}


def code_lines(document: Path) -> list[str]:
    blocks = re.findall(r"```\w*\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.split("   #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


RUN_COMMANDS = sorted(
    {
        line
        for document in DOCUMENTS
        for line in code_lines(document)
        if line.startswith("python run.py")
        and not any(flag in line for flag in (*NEEDS_EXPERIMENT, NEEDS_MODULE))
    }
)
SEARCHES = [line for line in RUN_COMMANDS if "--bayes_opt_iters" in line]


def test_the_commands_are_found() -> None:
    assert "python run.py --config_loss slade" in RUN_COMMANDS
    assert len(RUN_COMMANDS) >= 6


@pytest.mark.parametrize("command", [c for c in RUN_COMMANDS if c not in SEARCHES])
def test_every_command_is_read_and_valid(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["run.py", *shlex.split(command)[2:]]
    monkeypatch.setattr(sys, "argv", argv)
    runner = SladeRunner()
    runner.set_YR()
    args = runner.read(runner.reader_for(runner.YR, fresh=True))
    check_args(args, runner.pytorch_getter)
    wanted = argv[argv.index("--config_loss") + 1]
    assert wanted in runner.YR.args.config_loss


@pytest.mark.parametrize("command", SEARCHES)
def test_every_search_is_read_and_valid(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    argv = ["run.py", *shlex.split(command)[2:]]
    monkeypatch.setattr(sys, "argv", argv)
    runner = SpaceRunner("upper", root_experiment_folder=str(tmp_path))
    runner.read_stages()
    assert runner.space


def test_the_data_commands_are_read() -> None:
    lines = code_lines(ROOT / "docs" / "data.md")
    commands = [shlex.split(line)[2:] for line in lines if line.startswith("slade-bench data")]
    assert len(commands) >= 3
    for words in commands:
        args = data.argument_parser().parse_args(words)
        assert args.name in data.image_data_sets()


def test_the_commands_on_results_are_read() -> None:
    lines = [line for document in DOCUMENTS for line in code_lines(document)]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("slade-bench ")]
    commands = [words for words in commands if words[0] in RESULT_COMMANDS]
    for name, *words in commands:
        importlib.import_module(cli.COMMANDS[name]).argument_parser().parse_args(words)
    assert {words[0] for words in commands} == RESULT_COMMANDS


def test_the_studies_are_read() -> None:
    start = "slade-bench study "
    lines = {line for document in DOCUMENTS for line in code_lines(document) if start in line}
    commands = [shlex.split(line.partition(" -- ")[0].removeprefix(start)) for line in lines]
    known = {path.stem for path in (config_root() / "studies").glob("*.yaml")}
    names = [study.argument_parser().parse_args(words).study for words in commands]
    assert {name for name in names if not name.endswith(".yaml")} <= known
    assert "ablation_3_pairwise_loss" in names


def test_links_lead_somewhere() -> None:
    papers = [*DOCUMENTS, *ROOT.glob("*.md"), ROOT / "benchmarks" / "README.md"]
    missing = [
        f"{document.name}: {target}"
        for document in papers
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text(encoding="utf-8"))
        if not target.startswith("http") and not (document.parent / target).exists()
    ]
    assert missing == []


def test_no_placeholder_is_left() -> None:
    for document in DOCUMENTS:
        assert "@@" not in document.read_text(encoding="utf-8"), document
