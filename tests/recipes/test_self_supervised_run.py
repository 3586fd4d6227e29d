"""Whole runs with the SwAV stage before the teacher."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.method.self_supervised.swav import SwAVTraining
from slade_plugin.method.self_supervised.trunk_file import trunk_paths

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]
RESUME = "--resume_training latest"
SWAV = (
    "--config_self_supervised swav_conv4 --self_supervised {num_epochs: 2, batch_size: 128, "
    "num_prototypes: 8, projection_hidden_size: 8, projection_size: 4, queue_length: 128, "
    "queue_start_epoch: 1}"
)


@pytest.fixture(scope="module")
def command(bench: Any) -> str:
    """Two split schemes; the student starts where the teacher started."""
    return bench.tiny_student(schemes=2) + " --student_initialization pretrained " + SWAV


@pytest.fixture(scope="module")
def done(bench: Any, command: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Read only."""
    root = tmp_path_factory.mktemp("swav")
    outcome = bench(command, root=root)
    assert outcome.code == 0, outcome.err
    assert "[1/5] self-supervised trunk: SwAV, 2 epochs per split scheme" in outcome.out
    return root / "slade_seed0"


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    """The same elsewhere, to be changed."""
    return Path(shutil.copytree(done, tmp_path / done.name))


def state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "pipeline.json").read_text())


def trunk_sha256(folder: Path, scheme: str) -> str:
    return json.loads(trunk_paths(folder / "self_supervised", scheme)[1].read_text())[
        "trunk_sha256"
    ]


def test_every_stage_starts_from_the_trunk_of_its_scheme(done: Path) -> None:
    entry = state(done)["stages"]["self_supervised"]
    assert entry["done"]
    assert next(iter(state(done)["stages"])) == "self_supervised"
    for scheme in SCHEMES:
        sha256 = trunk_sha256(done, scheme)
        assert entry["trunks"][scheme]["trunk_sha256"] == sha256
        assert len(entry["trunks"][scheme]["loss"]) == 2
        for stage in ("teacher", "student", "baseline"):
            start = json.loads((done / stage / scheme / "trunk_start.json").read_text())
            assert start == {"self_supervised_sha256": sha256, "weights": None}
    for stage in ("teacher", "student", "baseline"):
        saved = (done / stage / "configs" / "config_self_supervised.yaml").read_text()
        assert yaml.safe_load(saved)["self_supervised"]["folder"] == "../self_supervised"


def test_stopped_in_the_stage_it_ends_in_the_numbers_of_one_run(
    bench: Any, done: Path, command: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """Two schemes of two epochs; the interruption comes in the middle of the very last one."""
    original, calls = SwAVTraining._set_lr, [0]

    def interrupted(self: SwAVTraining, step: int) -> float:
        calls[0] += step % self.steps_per_epoch == 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return original(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(SwAVTraining, "_set_lr", interrupted)
        assert bench(command, root=tmp_path).code == 130
    folder = tmp_path / done.name
    (entry,) = state(folder)["stages"].values()
    assert entry.keys() == {"seconds", "cpu_seconds"}  # not done
    outcome = bench(command, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert bench.tensors(folder) == bench.tensors(done)
    assert bench.records(folder) == bench.records(done)
    tables = [(f / "results" / "table.json").read_text() for f in (folder, done)]
    assert tables[0] == tables[1]


def test_a_finished_run_is_not_run_again(bench: Any, copied: Path, command: str) -> None:
    before = bench.snapshot(copied / "self_supervised")
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert "[1/5] self-supervised trunk: already done" in outcome.out
    assert bench.snapshot(copied / "self_supervised") == before


def test_trunks_that_changed_are_refused(bench: Any, copied: Path, command: str) -> None:
    """Whatever lies there now is not what the teacher started from."""
    shutil.rmtree(copied / "self_supervised" / SCHEMES[0])
    content = state(copied)
    content["stages"]["self_supervised"]["trunks"][SCHEMES[0]]["trunk_sha256"] = "0" * 64
    (copied / "pipeline.json").write_text(json.dumps(content))
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "have changed" in outcome.err


def test_an_experiment_of_the_run_can_be_evaluated_elsewhere(
    bench: Any, done: Path, tmp_path: Path
) -> None:
    """The trained weights are its own; the folder of the stage need not lie there."""
    shutil.copytree(done / "teacher", tmp_path / "teacher")
    configs = tmp_path / "teacher" / "configs" / "config_self_supervised.yaml"
    configs.write_text(configs.read_text().replace("..", str(tmp_path / "gone")))
    evaluate = "--experiment_name teacher --evaluate --splits_to_eval [test]"
    assert bench(evaluate, root=tmp_path).code == 0
    ensemble = "--experiment_name teacher --evaluate_ensemble --splits_to_eval [test]"
    outcome = bench(ensemble, "--check_untrained_accuracy True", root=tmp_path)
    assert outcome.code == 2
    assert "expected --check_untrained_accuracy False" in outcome.err
    assert bench(ensemble, root=tmp_path).code == 0


def test_students_of_a_given_teacher_start_where_it_started(
    bench: Any, done: Path, command: str, tmp_path: Path
) -> None:
    """With the stage on the command line, with the same settings, or without."""
    outcome = bench(
        command.removesuffix(SWAV), f"--teacher_experiment {done / 'teacher'}", root=tmp_path
    )
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "slade_seed0"
    assert not (folder / "self_supervised").exists()
    for scheme in SCHEMES:
        for stage in ("student", "baseline"):
            start = json.loads((folder / stage / scheme / "trunk_start.json").read_text())
            assert start["self_supervised_sha256"] == trunk_sha256(done, scheme)
    stages = bench.stages(command, f"--teacher_experiment {done / 'teacher'}")
    assert sorted(stages) == ["baseline", "student"]


def test_another_stage_than_the_given_teacher_s_is_refused(
    bench: Any, done: Path, finished: Path, command: str, tmp_path: Path
) -> None:
    for flags, text in (
        (f"--teacher_experiment {done / 'teacher'} --self_supervised~APPLY~1 {{epsilon: 0.5}}",
         "epsilon is 0.5, but 0.03 for the given teacher"),
        (f"--teacher_experiment {finished / 'teacher'}", "for the given teacher"),
    ):  # fmt: skip
        outcome = bench(command, flags, root=tmp_path)
        assert outcome.code == 2
        assert text in outcome.err
        assert not (tmp_path / "slade_seed0").exists()


def test_the_folder_of_a_finished_stage_can_be_given(
    bench: Any, done: Path, command: str, tmp_path: Path
) -> None:
    """To a whole run, which then has no such stage, and to a plain experiment."""
    given = f"--self_supervised {{folder: {done / 'self_supervised'}}}"
    outcome = bench(command.removesuffix(SWAV), given, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "[1/4] teacher" in outcome.out
    assert bench.tensors(tmp_path / done.name / "teacher") == bench.tensors(done / "teacher")
    plain = "--config_loss contrastive --experiment_name plain " + bench.tiny(schemes=2)
    outcome = bench(plain, given, root=tmp_path)
    assert outcome.code == 0, outcome.err
    start = json.loads((tmp_path / "plain" / SCHEMES[1] / "trunk_start.json").read_text())
    assert start["self_supervised_sha256"] == trunk_sha256(done, SCHEMES[1])


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ("--self_supervised~APPLY~1 {num_epoch: 3}", "did you mean 'num_epochs'?"),
        ("--self_supervised~APPLY~1 {epsilon: 0}", "epsilon is 0; expected"),
        ("--self_supervised~APPLY~1 {batch_size: 1000}", "batch_size is 1000, but there are only"),
        ("--self_supervised {views: {crop_sizes: [24]}}", "expected (N, 1, 32, 32)"),
        ("--self_supervised {folder: nowhere}", "is missing"),
        ("--teacher.self_supervised {epsilon: 0.5}", "expected it without the prefix"),
        ("--config_loss contrastive", "self_supervised has no effect here"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything(
    flags: str, text: str, bench: Any, tmp_path: Path
) -> None:
    name = "--experiment_name mine"
    first = bench.tiny() if "contrastive" in flags else bench.tiny_student()
    outcome = bench(first, name, "--config_self_supervised swav_conv4", flags, root=tmp_path)
    assert outcome.code == 2, outcome.out
    assert text in outcome.err
    assert not (tmp_path / "mine").exists()


def test_without_lightly_the_run_says_how_to_install_it(
    bench: Any, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    outcome = bench(command, root=tmp_path)
    assert outcome.code == 2
    assert "pip install slade-plugin[swav]" in outcome.err
    assert not (tmp_path / "slade_seed0").exists()
