"""pipeline.json: what it says, and what a resumed run compares with it."""

import errno
import itertools
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.config.experiment_folder import is_pipeline_folder
from slade_plugin.stages.state import RunState
from tests.pipeline_runs import (
    RESUME,
    SCHEMES,
    STATE,
    STEP,
    raise_at,
    state,
    undo,
)


def test_the_state_says_where_everything_comes_from(finished: Path, command: str) -> None:
    content = state(finished)
    assert is_pipeline_folder(finished)
    assert list(content["stages"]) == ["teacher", "pseudo_labels", "student", "baseline"]
    assert all(entry["done"] for entry in content["stages"].values())
    assert all(entry["cpu_seconds"] > 0 for entry in content["stages"].values())
    (environment,) = content["environment"]
    assert environment["command"][1:3] == ["--config_loss", "slade"]
    assert environment["packages"]["powerful-benchmarker"] == "0.9.33"
    manifests = content["stages"]["pseudo_labels"]["manifests"]
    assert sorted(manifests) == SCHEMES
    for scheme in SCHEMES:
        assert manifests[scheme]["num_clusters"] == 8
        assert {"NMI", "AMI", "purity"} <= manifests[scheme]["agreement"].keys()


def test_what_a_stage_took_before_it_was_stopped_is_counted(
    bench: Any, short: str, tmp_path: Path
) -> None:
    """By clocks on which each start of a stage takes 1 s and 10 s of the CPU."""
    clocks = [itertools.count(0, step) for step in (1, 10)]

    def taken() -> dict[str, tuple[float, float]]:
        stages = state(tmp_path / "slade_seed0")["stages"]
        return {name: (e["seconds"], e["cpu_seconds"]) for name, e in stages.items()}

    def run(*flags: str, stop: tuple[str, int, Any] | None = None) -> int:
        with pytest.MonkeyPatch.context() as patch:
            clock = SimpleNamespace(perf_counter=lambda: next(clocks[0]))
            patch.setattr(f"{STATE}.time", clock)
            patch.setattr(f"{STATE}._cpu_seconds", lambda: next(clocks[1]))
            if stop:
                raise_at(patch, *stop)
            return int(bench(short, *flags, root=tmp_path).code)

    assert run(stop=(STEP, 4, KeyboardInterrupt)) == 130
    assert taken() == {"teacher": (1, 10)}
    full = OSError(errno.ENOSPC, "No space left on device")
    assert (
        run(RESUME, stop=("slade_plugin.method.trainers.SladeStudent.calculate_loss", 3, full)) == 2
    )
    assert taken() == {"teacher": (2, 20), "pseudo_labels": (1, 10), "student": (1, 10)}
    for _ in range(2):  # the second time nothing is left to do, and what is done is only checked
        assert run(RESUME) == 0
        assert taken() == {"teacher": (2, 20), "pseudo_labels": (1, 10), "student": (2, 20)}


@pytest.mark.parametrize(
    ("flag", "where", "old", "new"),
    [
        ("--pseudo_labels {clusterer: {KMeans: {num_clusters: 6}}}",
         "student/config_general/pseudo_labels/clusterer/KMeans/num_clusters", "8", "6"),
        ("--optimizers {basis_loss_optimizer: {Adam: {lr: 0.5}}}",
         "student/config_optimizers/optimizers/basis_loss_optimizer/Adam/lr", None, "0.5"),
        ("--teacher.num_epochs_train 3", "baseline/config_general/num_epochs_train", "4", "5"),
        ("--patience 3", "baseline/config_general/patience", "None", "3"),
    ],
)  # fmt: skip
def test_another_config_is_named_with_both_values(
    flag: str, where: str, old: str | None, new: str, bench: Any, copied: Path, command: str
) -> None:
    before = bench.snapshot(copied)
    flags = command
    if flag.startswith("--pseudo_labels"):
        flags = command.replace("--pseudo_labels {clusterer: {KMeans: {num_clusters: 8}}}", "")
    outcome = bench(flags, flag, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"was started with another config: {where} was {old or ''}" in outcome.err
    assert f" and is now {new}. Resume with the same command" in outcome.err
    assert bench.snapshot(copied) == before


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"plan": {}}',
        '{"plan": {}, "data": {}, "environment": [], "stages": []}',
        '{"plan": 3, "data": {}, "environment": [], "stages": {}}',
    ],
)
def test_a_damaged_state_is_named(damage: str, bench: Any, copied: Path, command: str) -> None:
    (copied / "pipeline.json").write_text(damage)
    before = bench.snapshot(copied)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"{copied / 'pipeline.json'} cannot be read: " in outcome.err
    assert bench.snapshot(copied) == before


def test_a_missing_state_is_named(bench: Any, copied: Path, command: str) -> None:
    (copied / "pipeline.json").unlink()
    before = bench.snapshot(copied)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "contains experiments but no pipeline.json" in outcome.err
    assert bench.snapshot(copied) == before


DATA = "slade_plugin.host.api_parsers.data_record"


def test_other_data_are_refused(
    bench: Any, copied: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo(copied, "student")
    monkeypatch.setattr(f"{DATA}.pool_fingerprint", lambda pool: "another")
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "the data of " in outcome.err
    assert "have changed: the hash of labeled was " in outcome.err


def test_other_rounds_are_named(bench: Any, two_rounds: Path, rounds: str, tmp_path: Path) -> None:
    folder = shutil.copytree(two_rounds, tmp_path / two_rounds.name)
    before = bench.snapshot(folder)
    outcome = bench(rounds.replace("--rounds 2", "--rounds 3"), RESUME, root=tmp_path)
    assert outcome.code == 2
    assert "with the stages teacher, student, round2/student, baseline, now" in outcome.err
    assert "round3/student, baseline; expected the same. Resume with the same --rounds" in (
        outcome.err
    )
    assert bench.snapshot(folder) == before


# ---- without a run ------------------------------------------------------------------------------


def student_of(teacher: str, trunks: str | None = None) -> dict[str, Any]:
    """A plan with the folders that its student names."""
    trunk_entry = {"self_supervised": trunks and {"folder": trunks}}
    return {"student": {"config_general": {"teacher_experiment": teacher, **trunk_entry}}}


def old_state(folder: Path, **changes: Any) -> RunState:
    content = {"plan": student_of("/there/mine", "/trunks"), "data": {"pool": "0" * 64}}
    content |= {"environment": [], "stages": {}, **changes}
    (folder / "pipeline.json").write_text(json.dumps(content))
    return RunState.read(folder)


def test_paths_may_change_and_settings_may_not(tmp_path: Path) -> None:
    state = old_state(tmp_path)
    state.check_plan(student_of("/elsewhere", "/moved"))
    with pytest.raises(ExperimentError, match="student/config_general/self_supervised was"):
        state.check_plan(student_of("/elsewhere"))


def test_what_lies_outside_is_compared_by_its_hash(tmp_path: Path) -> None:
    hashes = {"teacher": "1" * 64, "self_supervised": "2" * 64, "pool": "0" * 64}
    state = old_state(tmp_path, data=hashes)
    elsewhere = student_of("/elsewhere", "/moved")
    state.check_data(hashes, elsewhere)
    for name, flag in (
        ("teacher", "--teacher_experiment"),
        ("self_supervised", "--self_supervised {folder: PATH}"),
        ("pool", "--unlabeled"),
    ):
        with pytest.raises(ExperimentError, match=f"{name} differs from the start .* now 999999"):
            state.check_data({**hashes, name: "9" * 64}, elsewhere)
        with pytest.raises(ExperimentError, match=re.escape(flag)):
            state.check_data({**hashes, name: "9" * 64}, elsewhere)


def test_format_1_has_no_hash_of_what_was_given(tmp_path: Path) -> None:
    """So it must lie where it was."""
    state = old_state(tmp_path, format=1)
    found = {"teacher": "1" * 64, "self_supervised": "2" * 64, "pool": "0" * 64}
    state.check_data(found, student_of("/there/mine", "/trunks"))
    for plan in (student_of("/elsewhere", "/trunks"), student_of("/there/mine", "/moved")):
        with pytest.raises(ExperimentError, match="its hash was not recorded"):
            state.check_data(found, plan)


def test_earlier_versions_have_no_hash_of_a_weight_file(tmp_path: Path) -> None:
    def plan(path: str) -> dict[str, Any]:
        models = {"trunk": {"TorchvisionTrunk": {"weights": path}}}
        return {"student": {"config_models": {"models": models}}}

    state = old_state(tmp_path, plan=plan("/there/w.pth"))
    found = {"weights": "1" * 64, "pool": "0" * 64}
    state.check_plan(plan("/moved/w.pth"))
    state.check_data(found, plan("/there/w.pth"))
    with pytest.raises(ExperimentError, match=r"not recorded .* \(--models \{trunk: "):
        state.check_data(found, plan("/moved/w.pth"))


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    for wrong in (3, "x"):
        with pytest.raises(ExperimentError, match="expected at most 2"):
            old_state(tmp_path, format=wrong)


def test_a_resumed_run_is_saved_as_format_2(tmp_path: Path) -> None:
    state = old_state(tmp_path, format=1)
    state.begin({"student": {}}, {"pool": "0"}, "teacher")
    content = json.loads((tmp_path / "pipeline.json").read_text())
    assert (content["format"], content["teacher_experiment"]) == (2, "teacher")
    assert content["plan"] == {"student": {}}
    assert len(content["environment"]) == 1
    assert state.resumed
    assert not RunState(tmp_path).resumed
