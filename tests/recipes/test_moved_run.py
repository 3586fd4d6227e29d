"""Runs that are moved, renamed or mounted elsewhere: resumed, evaluated, reproduced."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from slade_plugin.experiments.studies.execution import execute_on
from slade_plugin.experiments.studies.plan import Run, plan_runs
from slade_plugin.experiments.studies.study import Setting, Study
from tests.pipeline_runs import (
    RESUME,
    SCHEMES,
    STEP,
    assert_equal_experiments,
    raise_at,
    state,
    table,
)

STUDENT_STEP = "slade_plugin.method.trainers.SladeStudent.calculate_loss"


@pytest.fixture(scope="module")
def rounds(bench: Any) -> str:
    return (
        f"{bench.tiny_student(schemes=1, epochs=2, iterations=2)} --rounds 2 "
        "--student_initialization teacher --pipeline {baseline: false}"
    )


@pytest.fixture(scope="module")
def whole(bench: Any, rounds: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds that nobody stopped or moved. Read only."""
    root = tmp_path_factory.mktemp("whole")
    assert bench(rounds, root=root).code == 0
    return root / "slade_seed0"


def stop_and_move(bench: Any, flags: str, step: int, start: Path, end: Path) -> Path:
    """Stop a run at a step of its students, then move and rename its folder."""
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, STUDENT_STEP, step, KeyboardInterrupt)
        assert bench(flags, root=start).code == 130
    assert came()
    end.parent.mkdir(parents=True)
    return Path(shutil.move(start / "slade_seed0", end))


def texts(folder: Path) -> dict[Path, str]:
    """Every saved config and record of a run, without the command lines that are on record."""
    found = {}
    for path in [*folder.rglob("*.yaml"), *folder.rglob("*.json")]:
        text = path.read_text()
        if path.name == "pipeline.json":
            text = json.dumps({**json.loads(text), "environment": []})
        found[path] = text
    return found


def to_format_1(folder: Path, place: Path) -> None:
    """Rewrite a run as earlier versions left it, at a place where it once was."""
    for path in folder.rglob("data.json"):
        path.unlink()
    for path in folder.rglob("configs/config_general.yaml"):
        config = yaml.safe_load(path.read_text())
        absolute(config, place / path.parents[1].relative_to(folder))
        path.write_text(yaml.safe_dump(config))
    content = state(folder)
    content["format"] = 1
    content["teacher_experiment"] = str(place / "teacher")
    for name, areas in content["plan"].items():
        absolute(areas["config_general"], place / name)
    (folder / "pipeline.json").write_text(json.dumps(content))


def absolute(config: dict[str, Any], experiment: Path) -> None:
    """The paths of other stages as format 1 had them."""

    def path(value: str) -> str:
        return str(Path(experiment / value).resolve())

    if config.get("teacher_experiment"):
        config["teacher_experiment"] = path(config["teacher_experiment"])
    labels = config.get("pseudo_labels") or {}
    for key in ("folder", "last_folder"):
        if labels.get(key):
            labels[key] = path(labels[key])


@pytest.mark.slow
@pytest.mark.parametrize("old", [False, True], ids=["format 2", "format 1"])
def test_a_stopped_run_resumes_where_it_was_moved_to(
    old: bool, bench: Any, whole: Path, rounds: str, tmp_path: Path
) -> None:
    """In the middle of the second round, whose student starts from the first one."""
    start = tmp_path / "before"
    folder = stop_and_move(bench, rounds, 7, start, tmp_path / "after" / "renamed")
    assert str(start) not in "".join(texts(folder).values())
    if old:
        to_format_1(folder, start / "slade_seed0")
    outcome = bench(rounds, RESUME, "--experiment_name renamed", root=folder.parent)
    assert outcome.code == 0, outcome.err
    assert "[2/5] pseudo labels, round 1: already done" in outcome.out
    for stage in ("teacher", "student", "round2/student"):
        if not old:
            assert_equal_experiments(bench, folder / stage, whole / stage)
        assert bench.tensors(folder / stage) == bench.tensors(whole / stage)
    assert table(folder) == table(whole)
    assert state(folder)["format"] == 2
    assert not start.joinpath("slade_seed0").exists()


@pytest.mark.slow
def test_a_moved_run_is_evaluated_and_reproduced(bench: Any, whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "mounted"
    folder = Path(shutil.copytree(whole, root / "renamed"))
    assert str(whole) not in "".join(texts(folder).values())
    for flags in ("--evaluate --splits_to_eval [train]", "--evaluate_ensemble"):
        for stage in ("teacher", "student", "round2/student"):
            outcome = bench(f"--experiment_name renamed/{stage} {flags}", root=root)
            assert outcome.code == 0, outcome.err
    student = folder / "round2" / "student"
    outcome = bench(f"--experiment_name again --reproduce_results {student}", root=root)
    assert outcome.code == 0, outcome.err
    assert bench.tensors(root / "again") == bench.tensors(whole / "round2" / "student")
    saved = yaml.safe_load((root / "again" / "configs" / "config_general.yaml").read_text())
    assert saved["teacher_experiment"] == str(folder / "student")  # outside the reproduction
    assert saved["pseudo_labels"]["folder"] == str(folder / "round2" / "pseudo_labels")


@pytest.mark.slow
def test_the_stage_before_the_teacher_moves_too(bench: Any, tmp_path: Path) -> None:
    """Its trunks are found again by the stages that are left to train."""
    swav = (
        "--config_self_supervised swav_conv4 --self_supervised {num_epochs: 1, batch_size: 128, "
        "num_prototypes: 8, projection_hidden_size: 8, projection_size: 4, queue_length: 128}"
    )
    flags = f"{bench.tiny_student()} {swav}"
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, STUDENT_STEP, 1, KeyboardInterrupt)
        assert bench(flags, root=tmp_path / "before").code == 130
    root = Path(shutil.move(tmp_path / "before", tmp_path / "after"))
    saved = (root / "slade_seed0/teacher/configs/config_self_supervised.yaml").read_text()
    assert yaml.safe_load(saved)["self_supervised"]["folder"] == "../self_supervised"
    outcome = bench(flags, RESUME, root=root)
    assert outcome.code == 0, outcome.err
    evaluate = "--evaluate --splits_to_eval [val] --check_untrained_accuracy True"
    outcome = bench(f"--experiment_name slade_seed0/student {evaluate}", root=root)
    assert outcome.code == 0, outcome.err


# ---- what lies outside --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_given_teacher_may_be_moved_but_not_changed(
    bench: Any, finished: Path, tmp_path: Path
) -> None:
    flags = bench.tiny_student(schemes=2) + " --pipeline {baseline: false}"
    teacher = Path(shutil.copytree(finished / "teacher", tmp_path / "teachers" / "mine"))
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, STUDENT_STEP, 1, KeyboardInterrupt)
        assert bench(flags, f"--teacher_experiment {teacher}", root=tmp_path).code == 130
    assert state(tmp_path / "slade_seed0")["teacher_experiment"] == str(teacher)
    moved = Path(shutil.move(teacher, tmp_path / "moved"))
    outcome = bench(flags, f"--teacher_experiment {teacher}", RESUME, root=tmp_path)
    assert outcome.code == 2
    assert "If it was moved, give its new path: --teacher_experiment PATH" in outcome.err

    (path,) = (moved / SCHEMES[0] / "saved_models").glob("trunk_best[1-9].pth")
    content = path.read_bytes()
    other = next((moved / SCHEMES[1] / "saved_models").glob("trunk_best[1-9].pth"))
    path.write_bytes(other.read_bytes())
    outcome = bench(flags, f"--teacher_experiment {moved}", RESUME, root=tmp_path)
    assert outcome.code == 2
    assert "teacher differs from the start of the run (its hash was " in outcome.err
    assert "(--teacher_experiment)" in outcome.err

    path.write_bytes(content)
    outcome = bench(flags, f"--teacher_experiment {moved}", RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert state(tmp_path / "slade_seed0")["teacher_experiment"] == str(moved)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """16 classes of 4 images, and a pool of 24 others."""
    rng = np.random.default_rng(0)
    for number in range(88):
        part = f"labeled/{number // 4}" if number < 64 else "pool"
        (tmp_path / "images" / part).mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 40, (10, 12, 3)) + number // 4 * 8
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"images/{part}/{number}.png")
    return tmp_path / "images"


@pytest.mark.slow
def test_a_given_teacher_knows_its_data_by_their_hash(
    bench: Any, images: Path, tmp_path: Path
) -> None:
    """Its images may have been moved; with one more they are others."""
    own = bench.tiny_photographs() + "--config_dataset folders_small --pipeline {baseline: false}"
    bench = bench.on(tmp_path / "none")

    def data(folder: Path) -> str:
        return f"--labeled {folder / 'labeled'} --unlabeled {folder / 'pool'}"

    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, STUDENT_STEP, 1, KeyboardInterrupt)
        assert bench(own, data(images), root=tmp_path).code == 130
    teacher = tmp_path / "slade_folders_small_seed0" / "teacher"
    given = f"--teacher_experiment {teacher} --experiment_name second"
    changed = Path(shutil.copytree(images, tmp_path / "changed"))
    shutil.copyfile(changed / "labeled" / "1" / "4.png", changed / "labeled" / "0" / "more.png")
    moved = Path(shutil.move(images, tmp_path / "elsewhere"))
    outcome = bench(own, data(changed), given, root=tmp_path)
    assert outcome.code == 2
    assert "the given teacher was trained on different labeled data" in outcome.err
    outcome = bench(own, data(moved), given, root=tmp_path)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("config", ["slade", "contrastive"])
def test_data_may_be_moved_but_not_changed(
    config: str, bench: Any, images: Path, tmp_path: Path
) -> None:
    """The images of a run, and of a plain experiment."""
    flags = bench.tiny_photographs(config) + "--config_dataset folders_small "
    if config == "contrastive":
        flags = flags[: flags.index("--loss_funcs")].replace("--config_loss slade", "")
        flags += (
            "--config_dataset folders_small --num_epochs_train 2 --save_interval 1 "
            "--trainer~APPLY~2 {iterations_per_epoch: 2, batch_size: 8, dataloader_num_workers: 0} "
            "--sampler~APPLY~2 {length_before_new_iter: 16} "
        )
    name = f"{config}_folders_small_seed0"

    def data(folder: Path) -> str:
        pool = f" --unlabeled {folder / 'pool'}" if config == "slade" else ""
        return f"--labeled {folder / 'labeled'}{pool}"

    bench = bench.on(tmp_path / "none")
    target = STUDENT_STEP if config == "slade" else STEP
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, target, 2 if config == "slade" else 3, KeyboardInterrupt)
        assert bench(flags, data(images), root=tmp_path).code == 130
    changed = Path(shutil.copytree(images, tmp_path / "changed"))
    shutil.copyfile(changed / "labeled" / "1" / "4.png", changed / "labeled" / "0" / "more.png")
    outcome = bench(flags, data(changed), RESUME, root=tmp_path)
    assert outcome.code == 2
    assert "have changed: " in outcome.err
    assert "labeled" in outcome.err

    moved = Path(shutil.move(images, tmp_path / "elsewhere"))
    outcome = bench(flags, data(moved), RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    experiment = f"{name}/student" if config == "slade" else name
    for what in ("--evaluate --splits_to_eval [test]", "--evaluate_ensemble"):
        outcome = bench(f"--experiment_name {experiment} {what}", data(moved), root=tmp_path)
        assert outcome.code == 0, outcome.err
    again = f"--experiment_name again --reproduce_results {tmp_path / experiment}"
    if config == "contrastive":
        assert bench(again, data(moved), root=tmp_path).code == 0
        assert bench.tensors(tmp_path / "again") == bench.tensors(tmp_path / name)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["slade", "contrastive"])
def test_weights_lists_and_caches_may_be_moved(
    config: str, bench: Any, images: Path, tmp_path: Path
) -> None:
    """A weight file is known by its hash, a list of classes by the data it leaves."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for seed, name in enumerate(("weights.pth", "other.pth")):
        torch.manual_seed(seed)
        torch.save(torchvision.models.squeezenet1_1().state_dict(), outside / name)
    (outside / "left_out.txt").write_text("0\n")
    own = bench.tiny_photographs(config).replace("--models", "--unused").split("--unused")
    own = own[0] + "--log_data" + own[1].partition("--log_data")[2]  # without its models
    if config == "contrastive":
        own = own[: own.index("--loss_funcs")] + (
            "--num_epochs_train 2 --save_interval 1 --sampler~APPLY~2 {length_before_new_iter: 16} "
            "--trainer~APPLY~2 {iterations_per_epoch: 2, batch_size: 8, dataloader_num_workers: 0} "
        )
    own += f" --config_dataset folders_small --labeled {images / 'labeled'} "
    own += f"--unlabeled {images / 'pool'} " if config == "slade" else ""
    bench = bench.on(tmp_path / "none")

    def run(folder: Path, *flags: str, weights: str = "weights.pth") -> Any:
        return bench(
            own,
            "--models {embedder~OVERRIDE~: {MLP: {layer_sizes: [16]}}, trunk~OVERRIDE~: "
            f"{{TorchvisionTrunk: {{architecture: squeezenet1_1, weights: {folder / weights}}}}}}}",
            f"--dataset {{FolderImages: {{excluded_classes: {folder / 'left_out.txt'}, "
            f"cache: {{short_side: 40, folder: {folder / 'cache'}}}}}}}",
            *flags,
            root=tmp_path,
        )

    target, call = (STUDENT_STEP, 1) if config == "slade" else (STEP, 3)
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, target, call, KeyboardInterrupt)
        assert run(outside).code == 130
    moved = Path(shutil.move(outside, tmp_path / "moved"))
    (tmp_path / "outside").touch()  # nothing can be made there again
    outcome = run(moved, RESUME, weights="gone.pth")
    assert outcome.code == 2
    assert "give its new path: --models {trunk: {CLASS: {weights: PATH}}}" in outcome.err
    outcome = run(moved, RESUME, weights="other.pth")
    assert outcome.code == 2
    assert "weights" in outcome.err
    assert "--models {trunk: {CLASS: {weights: PATH}}}" in outcome.err
    outcome = run(moved, RESUME)
    assert outcome.code == 0, outcome.err
    experiment = f"{config}_folders_small_seed0" + ("/student" if config == "slade" else "")
    evaluate = "--evaluate --splits_to_eval [test] --check_untrained_accuracy True"
    outcome = run(moved, f"--experiment_name {experiment} {evaluate}")
    assert outcome.code == 0, outcome.err


# ---- studies ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InThisProcess:
    """Executes the runs of a study one after the other."""

    bench: Any
    executed: list[str]

    def room(self) -> int:
        return 1

    def start(self, run: Run, lock: Any, job: int) -> Any:
        self.executed.append(run.setting)
        outcome = self.bench.run_words(run.command())
        run.log.write_text(outcome.out + outcome.err)
        return SimpleNamespace(poll=lambda: outcome.code)

    def stop(self, tasks: Any) -> None:
        assert not tasks


@pytest.mark.long
def test_a_study_resumes_where_it_was_moved_to(bench: Any, tmp_path: Path) -> None:
    """Its second run was stopped, and the teacher of both is the first one's."""
    flags = bench.tiny_student().replace("--config_loss slade", "").split()
    places = ("--dataset_root", str(bench.dataset_root))
    first = Setting("slade", ("--config_loss", "slade"), own_teacher=True)
    low = Setting("low", ("--config_loss", "slade_basis"))
    study = Study("mine", {"glyphs": ()}, "slade", (low, first), flags=tuple(flags))

    def run(folder: Path) -> tuple[list[str], list[Any], list[Run]]:
        workers = InThisProcess(bench, [])
        runs = list(plan_runs(study, folder, [0], places).values())
        return workers.executed, execute_on(workers, runs), runs

    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, STUDENT_STEP, 2, KeyboardInterrupt)
        executed, failures, _ = run(tmp_path / "studies")
    assert executed == ["slade", "low"]
    assert [failure.reason.partition(";")[0] for failure in failures] == [
        "ended with exit code 130"
    ]
    moved = (tmp_path / "studies").rename(tmp_path / "renamed")
    executed, failures, runs = run(moved)
    assert (executed, failures) == (["low"], [])

    again = moved.rename(tmp_path / "again")  # finished, and read without the command
    student = again / runs[1].experiment.relative_to(moved) / "student"
    teacher = again / runs[0].experiment.relative_to(moved) / "teacher"
    name = f"--experiment_name {student.relative_to(tmp_path)}"
    for what in ("--evaluate --splits_to_eval [train]", "--evaluate_ensemble"):
        outcome = bench(name, what, root=tmp_path)
        assert outcome.code == 0, outcome.err
    outcome = bench(f"--experiment_name repeated --reproduce_results {student}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    saved = yaml.safe_load((tmp_path / "repeated/configs/config_general.yaml").read_text())
    assert saved["teacher_experiment"] == str(teacher)
    assert bench.tensors(tmp_path / "repeated") == bench.tensors(student)
