"""The command line as a user meets it: what works, what is refused and with which exit code."""

import errno
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin import cli, compat
from slade_plugin.base.errors import SladeError
from slade_plugin.base.locks import LOCK_FILE
from slade_plugin.config.composition import config_root
from slade_plugin.config.keys import STAGE_PREFIXES
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.table import read_experiment

REPOSITORY = Path(__file__).resolve().parent.parent

# Values that make the shipped configs a matter of a second.
SMALL: dict[str, Any] = {
    "Glyphs": {"letters_per_script": 8, "instances_per_face": 1},
    "MPerClassSampler": {"length_before_new_iter": 64},
    "num_training_partitions": 2,
    "num_training_sets": 1,
    "hidden_size": 8,
    "iterations_per_epoch": 1,
    "num_epochs_train": 1,
    "save_interval": 1,
    "clusterer": {"KMeans": {"num_clusters": 8}},
    "log_data_to_tensorboard": False,
}


def shrink(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    small = {key: shrink(value) for key, value in content.items()}
    for key in small.keys() & SMALL:
        value = SMALL[key]
        small[key] = {**(small[key] or {}), **value} if isinstance(value, dict) else value
    return small


@pytest.fixture
def small_configs(tmp_path: Path) -> Path:
    """The shipped config root, file by file, with small numbers."""
    root = tmp_path / "bench_configs"
    shutil.copytree(config_root(), root)
    for path in root.rglob("*.yaml"):
        path.write_text(yaml.safe_dump(shrink(yaml.safe_load(path.read_text(encoding="utf-8")))))
    return root


def test_the_one_command_of_the_readme(
    bench: Any, small_configs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python run.py --config_loss slade`, to the letter, in an empty folder."""
    monkeypatch.setattr("slade_plugin.runner.config_root", lambda: small_configs)
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "datasets").symlink_to(bench.dataset_root)  # saves drawing the letters
    monkeypatch.chdir(folder)
    outcome = bench("--config_loss slade", root=None)
    assert (outcome.code, outcome.err.count("Error")) == (0, 0), outcome.err
    table = (folder / "experiments" / "slade_seed0" / "results" / "table.md").read_text()
    for row in ("teacher ", "student ", "baseline "):
        assert f"| {row}" in table
        assert f"| {row}" in outcome.out
    assert sorted(p.name for p in folder.iterdir()) == ["datasets", "experiments"]


# ---- printing -----------------------------------------------------------------------------------


def test_help_names_every_flag_of_the_parser(bench: Any) -> None:
    outcome = bench("--help", root=None)
    assert outcome.code == 0
    actions = SladeRunner().setup_argparser()._actions
    flags = [option for a in actions for option in a.option_strings if a.dest != "help"]
    missing = [flag for flag in flags if flag not in outcome.out]
    assert missing == []
    assert all(f"--{prefix}KEY" in outcome.out for prefix in STAGE_PREFIXES)


def test_list_prints_classes_and_configs(bench: Any) -> None:
    outcome = bench("--list", root=None)
    assert outcome.code == 0
    assert "FeatureBasisLoss" in outcome.out
    assert "--config_loss slade " in outcome.out


def test_list_of_a_root_without_configs_is_an_error(bench: Any, tmp_path: Path) -> None:
    outcome = bench(f"--list --root_config_folder {tmp_path}", root=None)
    assert outcome.code == 2
    assert f"{tmp_path} has no config_foldernames.yaml" in outcome.err


def test_run_py_ends_with_the_exit_code(tmp_path: Path) -> None:
    """A process of its own, for two commands that need not load torch."""
    for flag, code in (("--help", 0), ("--reproductions=x", 2)):
        done = subprocess.run(
            [sys.executable, REPOSITORY / "run.py", flag],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        assert bool(done.stderr) == bool(code)
        assert "Traceback" not in done.stderr
    assert "invalid int value" in done.stderr
    assert list(tmp_path.iterdir()) == []


# ---- reading the command line -------------------------------------------------------------------


def test_quoted_and_unquoted_dicts_mean_the_same(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(SladeRunner, "start_experiment", lambda self, args: seen.append(args))
    flags = ("--trainer", "{MetricLossOnly: {batch_size: 8}}", "--splits_to_eval", "[val, test]")
    for words in (flags, [word for flag in flags for word in flag.split(" ")]):
        monkeypatch.setattr(sys, "argv", ["run.py", *words])
        assert cli.main() == 0
    quoted, unquoted = map(vars, seen)
    assert quoted == unquoted
    assert quoted["trainer"]["MetricLossOnly"]["batch_size"] == 8
    assert quoted["splits_to_eval"] == ["val", "test"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--trainer {MetricLossOnly:{batch_size: 8}}", "Put a space after the colon"),
        ("--trainer {MetricLossOnly: {batch_size: 8}", "bracket imbalance: 2 of { and 1 of }"),
        ("--trainer {a: b: c}", "cannot parse the command line: while parsing"),
        ("contrastive", "contrastive is missing"),
        ("--resume_training last", "argument --resume_training: invalid choice: 'last'"),
        ("--seed one", "argument --seed: invalid int value: 'one'"),
        ("--seed -1", "--seed is -1; expected 0 to 4294967295"),
        ("--bayes_opt_iters x", "argument --bayes_opt_iters: invalid int value: 'x'"),
        ("--experiment_name", "argument --experiment_name: expected one argument"),
        ("--experiment_name ..", "--experiment_name is '..'; expected a folder name"),
        ("--config_loss", "--config_loss is True; expected a name or a list of names"),
        ("--config_loss {a: b}", "--config_loss is {'a': 'b'}; expected a name or a list"),
        ("--config_los slade", "unknown flag or config key: --config_los (did you mean"),
        ("--config_los=slade", "unknown flag or config key: --config_los (did you mean"),
        ("--trainer~APPLY~ {batch_size: 8}", "has a keyword unknown to the benchmarker"),
        ("--trainer~APPLY~2 8", "a command-line value does not fit the config"),
        ("--models {embeder~APPLY~1: {MLP: {}}}", "does not fit the config: 'embeder'"),
        ("--pipeline {teacher: {trainer~APPLY~2: {batch_size: 8}}} --config_loss slade",
         "does not fit the config: 'trainer'"),
        ("--root_config_folder /nowhere/at/all", "/nowhere/at/all has no config_foldernames"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_message(
    flags: str, message: str, bench: Any, tmp_path: Path
) -> None:
    outcome = bench(flags, root=tmp_path / "experiments")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert "Error: " in outcome.err.splitlines()[0]
    assert list(tmp_path.iterdir()) == []


def test_an_empty_value_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--dataset", ""])
    assert cli.main() == 2
    assert "the command line holds an empty value" in capsys.readouterr().err


# ---- ways to end --------------------------------------------------------------------------------


def end_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def run(self: Any) -> None:
        raise error

    monkeypatch.setattr(SladeRunner, "run", run)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (SladeError("what, got, expected"), 2, "SladeError: what, got, expected"),
        (KeyboardInterrupt(), 130, "Interrupted. Rerun the same command with --resume_training"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), 2,
         "ExperimentError: a file or the output cannot be written: a/b: No space left on device. "),
        (OSError(errno.EROFS, "Read-only file system"), 2, "written: Read-only file system"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), 2, "a/b: Permission denied"),
        (sqlite3.OperationalError("database or disk is full"), 2, "database or disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), 2, "readonly database"),
        (RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0\nat C++"),
         2, "unexpected pos 64 vs 0. Expected free"),
    ],
)  # fmt: skip
def test_an_end_that_a_message_explains(
    error: BaseException, code: int, message: str, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_with(monkeypatch, error)
    outcome = bench("--config_loss contrastive", root=None)
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    debugged = bench("--config_loss contrastive --debug", root=None)
    assert debugged.code == code
    assert "Traceback (most recent call last)" in debugged.err
    assert message in debugged.err.splitlines()[-1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        OSError(errno.ENOENT, "No such file"),
        sqlite3.OperationalError("no such table: x"),
    ],
)
def test_anything_unexpected_raises(
    error: Exception, bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_with(monkeypatch, error)
    with pytest.raises(type(error)):
        bench("--config_loss contrastive", root=None)


def test_a_search_without_ax_names_the_extra(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for shim in compat.AX_SHIMS:
        compat.undo(shim.name)
    monkeypatch.setitem(sys.modules, "ax.service.utils.best_point", None)
    outcome = bench("--config_loss contrastive_search --bayes_opt_iters 2", root=tmp_path)
    assert outcome.code == 2
    assert "expected ax-platform 1.3. Install it: pip install 'slade-plugin[search]'" in outcome.err


def test_bounds_without_a_search_are_refused(bench: Any, tmp_path: Path) -> None:
    outcome = bench("--config_loss triplet_search", root=tmp_path)
    assert outcome.code == 2
    assert "margin~BAYESIAN~ is a search space; expected a value, or --bayes_opt" in outcome.err
    outcome = bench("--num_epochs_train~INT_BAYESIAN~ [1, 2]", root=tmp_path)
    assert outcome.code == 2
    assert "num_epochs_train~INT_BAYESIAN~ is a search space" in outcome.err


def test_our_warnings_are_shown_and_the_hosts_chatter_is_not(
    bench: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(self: Any) -> None:
        logging.warning("the host's")
        logging.getLogger("slade_plugin.x").warning("ours")

    monkeypatch.setattr(SladeRunner, "run", run)
    bench("--config_loss contrastive", root=tmp_path)
    assert [record.message for record in caplog.records] == ["ours"]


# ---- output that nobody reads, or that has no room -----------------------------------------------

RUN_PY = [sys.executable, str(REPOSITORY / "run.py")]


def run_with_output(words: list[str], output: Any, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*RUN_PY, *words], stdout=output, stderr=subprocess.PIPE, text=True, cwd=cwd, check=False
    )


@pytest.mark.parametrize(
    "words", [["--help"], pytest.param(["--list"], marks=pytest.mark.long)], ids=str
)
def test_a_closed_pipe_ends_silently(words: list[str], tmp_path: Path) -> None:
    """As of `run.py --list | head -1`, whatever was printed before."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_with_output(words, writer, tmp_path)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (cli.EXIT_CLOSED_PIPE, "")
    assert cli.EXIT_CLOSED_PIPE == 141


def test_an_error_is_told_though_nobody_reads_the_output(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run_with_output(["--seed", "x"], writer, tmp_path)
    finally:
        os.close(writer)
    assert done.returncode == 2
    assert "invalid int value" in done.stderr


def test_output_without_room_is_one_message(tmp_path: Path) -> None:
    with open("/dev/full", "w") as full:
        done = run_with_output(["--help"], full, tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "a file or the output cannot be written: No space left on device" in line


def test_a_broken_pipe_of_something_else_is_no_silent_end(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    end_with(monkeypatch, BrokenPipeError(errno.EPIPE, "Broken pipe"))
    with pytest.raises(BrokenPipeError):
        bench("--config_loss contrastive", root=None)


def test_a_full_disk_in_a_thread_is_a_warning(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorBoard writes in a thread, whose traceback Python would print."""

    def write() -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "events")

    def run(self: Any) -> None:
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()

    monkeypatch.setattr(SladeRunner, "run", run)
    before = threading.excepthook
    outcome = bench("--config_loss contrastive", root=None)
    assert outcome.code == 0
    assert outcome.err.startswith("WARNING: events: No space left on device. ")
    assert "Traceback" not in outcome.err
    assert threading.excepthook is before


# ---- one process at a time ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        "--config_loss contrastive",
        "--config_loss slade",
        "--config_loss contrastive --resume_training latest",
        "--config_loss slade --resume_training latest",
        "--evaluate --splits_to_eval [test]",
        "--evaluate_ensemble",
        "--reproduce_results nowhere",
    ],
)
def test_a_second_process_is_refused_at_once(
    flags: str, bench: Any, hold: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SladeRunner, "_run", lambda self: pytest.fail("it began"))
    holder = hold(tmp_path / "group" / "taken")
    outcome = bench(f"{flags} --experiment_name group/taken", root=tmp_path)
    assert outcome.code == 2
    assert f"group/taken is in use by process {holder.pid} on " in outcome.err
    holder.kill()
    holder.wait()
    monkeypatch.setattr(SladeRunner, "_run", lambda self: None)
    assert bench(f"{flags} --experiment_name group/taken", root=tmp_path).code == 0


def test_a_lock_that_was_left_behind_does_not_take_a_folder(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / LOCK_FILE).write_text('{"pid": 1}')
    flags = f"--config_loss contrastive {bench.tiny()} --experiment_name new"
    assert bench(flags, root=tmp_path).code == 0
    assert not (tmp_path / "new" / LOCK_FILE).exists()


# ---- names --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_experiment_with_brackets_in_its_name_is_resumed_and_evaluated(
    bench: Any, tmp_path: Path
) -> None:
    """The host looks for checkpoints with the whole path as a pattern."""
    words = [w for w in bench.tiny().split() if w]
    places = ["--root_experiment_folder", str(tmp_path), "--dataset_root", str(bench.dataset_root)]
    name = ["--experiment_name", "[try] {one}  *"]
    start = ["--config_loss", "contrastive", *words, *places, *name]
    folder = tmp_path / name[1]
    assert bench.run_words(start).code == 0
    longer = [*start, "--resume_training", "latest", "--merge_argparse_when_resuming"]
    outcome = bench.run_words([*longer, "--num_epochs_train", "2"])
    assert outcome.code == 0, outcome.err
    assert [p.name for p in folder.rglob("trunk_[0-9]*.pth")] == ["trunk_2.pth"]
    evaluate = ["--evaluate", "--splits_to_eval", "[val, test]", *places, *name]
    outcome = bench.run_words(evaluate)
    assert outcome.code == 0, outcome.err
    found = read_experiment(folder, ["val", "test"])
    assert found["test"]["mean_average_precision_at_r"]
