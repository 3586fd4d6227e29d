"""Teacher, pseudo labels, student, baseline: planned, run, stopped at any moment, gone on with."""

import errno
import importlib
import itertools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.experiment_folder import is_pipeline_folder
from slade_plugin.config.keys import STUDENT_KEYS
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.method.pseudo_labels.last_round import compare_with_last_round
from slade_plugin.method.pseudo_labels.record import load_pseudo_labels
from slade_plugin.stages.training import check_saves_models
from slade_plugin.stages.table import METRICS, read_experiment

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]
RESUME = "--resume_training latest"


@pytest.fixture(scope="module")
def command(bench: Any) -> str:
    """The command of `finished`."""
    return bench.tiny_student(schemes=2, epochs=2, iterations=2)


@pytest.fixture(scope="module")
def short(bench: Any) -> str:
    """What the moments of interruption are tried on: teacher and student, every loop twice."""
    return bench.tiny_student(schemes=2, epochs=2, iterations=2) + " --pipeline {baseline: false}"


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """The finished pipeline at the place it says it is at, to be changed."""
    folder = shutil.copytree(finished, tmp_path / "experiments" / finished.name)
    for path in [folder / "pipeline.json", *folder.glob("*/configs/*.yaml")]:
        path.write_text(path.read_text().replace(str(finished), str(folder)))
    return folder


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """(stage, "train" or "evaluate") of every experiment that is started from here on."""
    from slade_plugin.runner import SladeRunner

    seen = []
    original = SladeRunner.start_experiment

    def start(self: Any, args: Any, *rest: Any, **kwargs: Any) -> Any:
        what = "evaluate" if args.evaluate else "train"
        seen.append((Path(args.experiment_folder).name, what))
        return original(self, args, *rest, **kwargs)

    monkeypatch.setattr(SladeRunner, "start_experiment", start)
    return seen


def table(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "results" / "table.json").read_text())["rows"]


def state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "pipeline.json").read_text())


# ---- the plan -----------------------------------------------------------------------------------


def steps(args: Any) -> int:
    (trainer,) = args.trainer.values()
    return args.num_epochs_train * trainer["iterations_per_epoch"]


def test_stages_are_plain_experiments_of_their_own(bench: Any) -> None:
    stages = bench.stages("--config_loss slade --experiment_name x/y")
    assert list(stages) == ["teacher", "student", "baseline"]
    for name, args in stages.items():
        assert args.experiment_name == f"x/y/{name}"
        assert args.experiment_folder == f"experiments/x/y/{name}"
        assert args.place_to_save_configs == f"experiments/x/y/{name}/configs"
    assert list(stages["student"].trainer) == ["SladeStudent"]
    assert list(stages["teacher"].trainer) == ["MetricLossOnly"]
    for name in ("teacher", "baseline"):
        assert not hasattr(stages[name], "pipeline")
        assert list(stages[name].loss_funcs) == ["metric_loss"]


def test_the_student_is_told_where_teacher_and_pseudo_labels_are(bench: Any) -> None:
    student = bench.stages("--config_loss slade --pseudo_labels {num_clusters: 7}")["student"]
    assert student.teacher_experiment == str(Path("experiments/slade_seed0/teacher").resolve())
    folder = Path("experiments/slade_seed0/pseudo_labels").resolve()
    assert student.pseudo_labels["folder"] == str(folder)
    assert student.pseudo_labels["num_clusters"] == 7
    assert "num_restarts" in student.pseudo_labels  # the other settings stay


def test_the_baseline_is_the_teacher_trained_as_long_as_both(bench: Any) -> None:
    """To the step, rounded up to the teacher's epochs."""
    flags = (
        "--config_loss slade --num_epochs_train 5 --save_interval 5 "
        "--trainer~APPLY~2 {iterations_per_epoch: 7}"
    )
    stages = bench.stages(f"{flags} --teacher.trainer~APPLY~2 {{iterations_per_epoch: 10}}")
    teacher, student, baseline = (stages[s] for s in ("teacher", "student", "baseline"))
    both = steps(teacher) + steps(student)
    assert both <= steps(baseline) < both + 10
    differing = {k for k in vars(teacher) if getattr(teacher, k) != getattr(baseline, k)}
    assert differing == {
        "num_epochs_train", "experiment_name", "experiment_folder", "place_to_save_configs",
        "dict_of_yamls",
    }  # fmt: skip


def test_the_shipped_lengths_are_the_teachers_and_the_students(bench: Any) -> None:
    stages = bench.stages("--config_loss slade")
    both = steps(stages["teacher"]) + steps(stages["student"])
    assert steps(stages["baseline"]) >= both


def test_what_is_measured_goes_to_every_stage(bench: Any) -> None:
    flags = (
        "--config_loss slade --models {trunk~OVERRIDE~: {conv4: {hidden_size: 4}}} --seed 3 "
        "--split_manager~APPLY~2 {num_training_sets: 1} --tester~APPLY~2 {batch_size: 7} "
        "--dataset {Glyphs: {letters_per_script: 8}}"
    )
    for name, args in bench.stages(flags).items():
        assert args.models["trunk"] == {"conv4": {"hidden_size": 4}}, name
        assert args.split_manager["ClassDisjointSplitManager"]["num_training_sets"] == 1
        assert next(iter(args.tester.values()))["batch_size"] == 7
        assert args.dataset["Glyphs"]["letters_per_script"] == 8
        assert args.seed == 3


@pytest.mark.parametrize(
    "key", sorted(STUDENT_KEYS - {"brings", "pipeline", "api_parser", "teacher_experiment"})
)
def test_how_it_is_trained_goes_to_the_student(key: str, bench: Any) -> None:
    values = {
        "num_epochs_train": "9",
        "save_interval": "9",
        "student_initialization": "pretrained",
        "trainer": "{SladeStudent: {batch_size: 9}}",
        "optimizers": "{trunk_optimizer: {Adam: {lr: 9}}}",
        "loss_funcs": "{metric_loss: {ContrastiveLoss: {pos_margin: 9}}}",
        "mining_funcs": "{tuple_miner: {MultiSimilarityMiner: {epsilon: 9}}}",
        "sampler": "{MPerClassSampler: {m: 9}}",
        "unlabeled_sampler": "{MPerClassSampler: {m: 9}}",
        "pseudo_labels": "{num_clusters: 9}",
    }
    plain = bench.stages("--config_loss slade")
    value = values[key]
    if key == "student_initialization" and plain["student"].student_initialization == value:
        value = "teacher"
    changed = bench.stages("--config_loss slade", f"--{key} {value}")
    assert getattr(changed["student"], key) != getattr(plain["student"], key)
    assert getattr(changed["teacher"], key, None) == getattr(plain["teacher"], key, None)


def test_a_prefix_aims_at_one_stage(bench: Any) -> None:
    plain = bench.stages("--config_loss slade")
    rates = {"teacher": 0.25, "baseline": 0.5}
    flags = [
        f"--{stage}.optimizers~APPLY~2 {{Adam: {{lr: {rate}}}}}" for stage, rate in rates.items()
    ]
    stages = bench.stages("--config_loss slade", *flags)
    for stage in ("teacher", "baseline"):
        optimizers = stages[stage].optimizers.values()
        assert {o["Adam"]["lr"] for o in optimizers} == {rates[stage]}
    assert stages["student"].optimizers == plain["student"].optimizers


def test_the_baseline_follows_the_teacher_unless_told_otherwise(bench: Any) -> None:
    stages = bench.stages("--config_loss slade --teacher.optimizers~APPLY~2 {Adam: {lr: 0.25}}")
    assert stages["baseline"].optimizers == stages["teacher"].optimizers
    stages = bench.stages("--config_loss slade --baseline.num_epochs_train 3")
    assert stages["baseline"].num_epochs_train == 3
    assert stages["teacher"].num_epochs_train != 3


def test_every_aims_at_all_and_one_stage_wins_over_it(bench: Any) -> None:
    flags = "--config_loss slade --every.sampler~APPLY~2 {m: 2} --teacher.sampler~APPLY~2 {m: 8}"
    stages = bench.stages(flags)
    found = {name: args.sampler["MPerClassSampler"]["m"] for name, args in stages.items()}
    assert found == {"student": 2, "teacher": 8, "baseline": 8}


def test_every_wins_over_the_files_settings_of_the_teacher(bench: Any) -> None:
    stages = bench.stages("--config_loss slade --every.num_epochs_train 1")
    assert (stages["teacher"].num_epochs_train, stages["student"].num_epochs_train) == (1, 1)


def test_two_flags_for_the_same_key_are_merged(bench: Any) -> None:
    """One for every stage and one without prefix, for the student: neither is lost."""
    stages = bench.stages(
        "--config_loss slade --every.trainer~APPLY~2 {batch_size: 9} "
        "--trainer~APPLY~2 {iterations_per_epoch: 7}"
    )
    (student,), (teacher,) = (stages[s].trainer.values() for s in ("student", "teacher"))
    assert (student["batch_size"], student["iterations_per_epoch"]) == (9, 7)
    assert teacher["batch_size"] == 9
    assert teacher["iterations_per_epoch"] != 7


def test_a_flag_adds_to_the_files_settings_of_the_teacher(bench: Any) -> None:
    loss = "{metric_loss: {ContrastiveLoss: {neg_margin: 3}}}"
    setting = f"--pipeline {{teacher: {{loss_funcs: {loss}}}}}"
    flag = "--teacher.loss_funcs {metric_loss: {ContrastiveLoss: {pos_margin: 2}}}"
    teacher = bench.stages("--config_loss slade", setting, flag)["teacher"]
    margins = {"pos_margin": 2, "neg_margin": 3}
    assert teacher.loss_funcs["metric_loss"]["ContrastiveLoss"] == margins


@pytest.mark.parametrize("prefix", ["teacher", "every"])
def test_a_prefix_reaches_config_areas(prefix: str, bench: Any) -> None:
    stages = bench.stages(f"--config_loss slade --{prefix}.config_optimizers mlrc")
    rates = {name: args.optimizers["trunk_optimizer"] for name, args in stages.items()}
    assert rates["teacher"] == rates["baseline"]
    assert (rates["teacher"] == rates["student"]) is (prefix == "every")


def test_the_teachers_loss_is_the_users_choice(bench: Any) -> None:
    flags = "--config_loss slade --teacher.config_loss triplet --teacher.loss_funcs~OVERRIDE~"
    stages = bench.stages(f"{flags} {{metric_loss: {{TripletMarginLoss: {{}}}}}}")
    for stage in ("teacher", "baseline"):
        assert list(stages[stage].loss_funcs["metric_loss"]) == ["TripletMarginLoss"]
    assert list(stages["student"].loss_funcs["metric_loss"]) == ["ContrastiveLoss"]


def test_without_baseline(bench: Any) -> None:
    stages = bench.stages("--config_loss slade --pipeline {baseline: false}")
    assert sorted(stages) == ["student", "teacher"]


def test_a_later_round_differs_in_its_teacher_and_its_folders(bench: Any) -> None:
    """The student of a round is the teacher of the next; everything else is as in round 1."""
    stages = bench.stages("--config_loss slade --rounds 3")
    assert list(stages) == ["teacher", "student", "round2/student", "round3/student", "baseline"]
    root = Path("experiments/slade_seed0").resolve()
    for number in (2, 3):
        args = stages[f"round{number}/student"]
        last = root if number == 2 else root / "round2"
        assert args.teacher_experiment == str(last / "student")
        assert args.pseudo_labels == stages["student"].pseudo_labels | {
            "folder": str(root / f"round{number}" / "pseudo_labels"),
            "last_folder": str(last / "pseudo_labels"),
        }
        assert args.experiment_name == f"slade_seed0/round{number}/student"
        assert args.experiment_folder == f"experiments/slade_seed0/round{number}/student"
        differing = {k for k, v in vars(args).items() if v != getattr(stages["student"], k)}
        assert differing == {
            "teacher_experiment", "pseudo_labels", "experiment_name", "experiment_folder",
            "place_to_save_configs", "dict_of_yamls",
        }  # fmt: skip


def test_the_baseline_is_as_long_as_all_rounds(bench: Any) -> None:
    flags = "--config_loss slade --rounds 3 --num_epochs_train 7 --save_interval 7"
    stages = bench.stages(flags)
    together = steps(stages["teacher"]) + 3 * steps(stages["student"])
    assert steps(stages["baseline"]) == together
    assert sorted(bench.stages(flags, "--pipeline {baseline: false}")) == [
        "round2/student", "round3/student", "student", "teacher",
    ]  # fmt: skip


def test_one_round_is_the_default(bench: Any) -> None:
    plain, one = (bench.stages(f"--config_loss slade {f}") for f in ("", "--rounds 1"))
    assert {k: vars(v) for k, v in plain.items()} == {k: vars(v) for k, v in one.items()}


@pytest.mark.parametrize("value", ["null", "slade"])
def test_a_teacher_without_a_loss_of_its_own_is_refused(value: str, bench: Any) -> None:
    with pytest.raises(ConfigError, match="pipeline: teacher names no config_loss of its own"):
        bench.stages(f"--config_loss slade --pipeline {{teacher: {{config_loss: {value}}}}}")


def test_an_endless_teacher_has_no_baseline(bench: Any) -> None:
    flags = "--config_loss slade --teacher.trainer~APPLY~2 {iterations_per_epoch: null}"
    with pytest.raises(ConfigError, match="iterations_per_epoch is None; expected integers"):
        bench.stages(flags)
    assert "teacher" in bench.stages(flags, "--pipeline {baseline: false}")


# ---- small functions ----------------------------------------------------------------------------


def test_a_stage_that_saves_no_models_is_refused(bench: Any) -> None:
    flags = "--config_loss slade --hook_container~APPLY~2 {save_models: False}"
    for stage, args in bench.stages(flags).items():
        with pytest.raises(ConfigError, match=rf"{stage}: .*save_models is False"):
            check_saves_models(stage, args)


# ---- a finished run -----------------------------------------------------------------------------


def test_the_table_holds_what_the_experiments_recorded(finished: Path) -> None:
    rows = table(finished)
    for stage in ("teacher", "student", "baseline"):
        recorded = read_experiment(finished / stage, ["val", "test"])
        for split in ("val", "test"):
            for metric in METRICS:
                found = {
                    row["split_scheme"]: row[metric]
                    for row in rows
                    if (row["experiment"], row["split"]) == (stage, split)
                }
                mean = found.pop("mean")
                assert found == recorded[split][metric]
                assert sorted(found) == SCHEMES
                assert mean == pytest.approx(sum(found.values()) / 2)


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


def test_the_student_has_its_own_copy_of_its_pseudo_labels(finished: Path) -> None:
    for scheme in SCHEMES:
        for suffix in ("json", "npy"):
            name = f"{scheme}.{suffix}"
            own = finished / "student" / scheme / name
            assert own.read_bytes() == (finished / "pseudo_labels" / name).read_bytes()


def test_the_loss_records_of_the_student_hold_every_term(bench: Any, finished: Path) -> None:
    for scheme in SCHEMES:
        rows = bench.records(finished / "student" / scheme)["saved_csvs/logs.db: loss_histories"]
        assert len(rows) == 4  # two epochs of two iterations
        for row in rows:
            terms = {k: v for k, v in row.items() if k != "id"}
            assert set(terms) == {
                "metric_loss", "unlabeled_metric_loss", "basis_loss", "total_loss",
            }  # fmt: skip
            assert terms["basis_loss"] > 0


def test_two_runs_of_one_seed_are_the_same_and_another_seed_is_not(
    bench: Any, finished: Path, command: str, tmp_path: Path
) -> None:
    for seed, equal in ((0, True), (1, False)):
        assert bench(f"{command} --seed {seed}", root=tmp_path).code == 0
        again = tmp_path / f"slade_seed{seed}"
        assert (bench.records(again) == bench.records(finished)) is equal
        assert (bench.tensors(again) == bench.tensors(finished)) is equal
        assert (table(again) == table(finished)) is equal
    ids = [(f / "pseudo_labels" / f"{SCHEMES[0]}.npy").read_bytes() for f in (again, finished)]
    assert ids[0] != ids[1]


def test_a_finished_pipeline_is_not_run_again(
    bench: Any, copied: Path, command: str, trained: list[Any]
) -> None:
    before = bench.snapshot(copied)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert trained == []
    assert outcome.out.count("already done") == 4
    after = bench.snapshot(copied)
    changed = {name for name in before if before[name] != after.get(name)}
    assert {name.split("/")[0] for name in changed} == {"pipeline.json", "results"}
    assert len(state(copied)["environment"]) == 2


def test_a_taken_folder_is_refused(bench: Any, copied: Path, command: str) -> None:
    before = bench.snapshot(copied)
    outcome = bench(command, root=copied.parent)
    assert outcome.code == 2
    assert "slade_seed0 is taken" in outcome.err
    assert bench.snapshot(copied) == before


# ---- stopped and gone on with -------------------------------------------------------------------

FILES = "slade_plugin.host.checkpoints.checkpoint_files"
PIPELINE = "slade_plugin.stages.pipeline"
STATE = "slade_plugin.stages.state"
STUDENT_PARSER = "slade_plugin.host.api_parsers.api_slade_student"
PSEUDO_LABELS = "slade_plugin.host.api_parsers.api_slade_pseudo_labels"
TESTER = "pytorch_metric_learning.testers.BaseTester.test"
STEP = "pytorch_metric_learning.trainers.BaseTrainer.forward_and_backward"
RECORDS = "record_keeper.record_keeper.RecordKeeper.save_records"

# What is called the n-th time when Control-C comes, and what is done by then. Teacher and student
# train two split schemes for two epochs of two steps each: 8 steps and 4 evaluations a stage.
MOMENTS = [
    ("slade_plugin.stages.student.Student.check", 1, []),
    (f"{STATE}.RunState.save", 1, []),
    ("powerful_benchmarker.utils.common_functions.write_yaml", 3, []),
    (STEP, 1, []),
    (STEP, 4, []),  # epoch 2 of the first scheme
    (STEP, 5, []),  # epoch 1 of the second scheme
    (RECORDS, 2, []),
    (f"{FILES}.save_state", 2, []),  # of best0
    (f"{FILES}.save_state", 8, []),  # of epoch 1
    (f"{FILES}.delete", 1, []),
    (TESTER, 5, []),  # the first evaluation on test, after training
    (f"{STATE}.RunState.save", 2, []),
    (f"{PSEUDO_LABELS}.cluster_embeddings", 2, ["teacher"]),
    ("slade_plugin.host.testers.SladeTester.embed_pool", 1, ["teacher"]),
    (f"{STUDENT_PARSER}.shutil.copyfile", 2, ["teacher", "pseudo_labels"]),
    ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 3, ["teacher", "pseudo_labels"]),
    ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 8, ["teacher", "pseudo_labels"]),
    (f"{PIPELINE}.write_tables", 1, ["teacher", "pseudo_labels", "student"]),
]


def raise_at(
    monkeypatch: pytest.MonkeyPatch, target: str, call: int, error: type[BaseException] | Exception
) -> Callable[[], bool]:
    """Lets a function raise from its n-th call on; the returned function says whether it has."""
    owner: Any = None
    for part in target.split(".")[:-1]:
        owner = getattr(owner, part) if owner else importlib.import_module(part)
    name = target.rpartition(".")[2]
    original = getattr(owner, name)
    calls = [0]

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= call:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, stand_in)
    return lambda: calls[0] >= call


@pytest.mark.parametrize(("target", "call", "done"), MOMENTS)
def test_stopped_at_any_moment_it_goes_on_to_the_same_end(
    target: str,
    call: int,
    done: list[str],
    bench: Any,
    finished: Path,
    short: str,
    trained: list[tuple[str, str]],
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, target, call, KeyboardInterrupt)
        outcome = bench(short, root=tmp_path)
    assert came()
    assert outcome.code == 130
    assert "The same command with --resume_training latest goes on." in outcome.err
    assert "Traceback" not in outcome.err
    folder = tmp_path / "slade_seed0"
    assert not (folder / "results").exists()
    if is_pipeline_folder(folder):
        assert [s for s, e in state(folder)["stages"].items() if e.get("done")] == done
    before = {n: f for n, f in bench.snapshot(folder).items() if n.split("/")[0] in done}
    trained.clear()

    outcome = bench(short, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    rest = [s for s in ("teacher", "student") if s not in done]
    assert trained == [(s, what) for s in rest for what in ("train", "evaluate")]
    after = bench.snapshot(folder)
    assert {name: after[name] for name in before} == before
    assert sorted(state(folder)["stages"]) == ["pseudo_labels", "student", "teacher"]

    assert table(folder) == [row for row in table(finished) if row["experiment"] != "baseline"]
    for stage in ("teacher", "student"):
        assert_equal_experiments(bench, folder / stage, finished / stage)
    left = [n for n in after if n.endswith((".part", ".tmp")) or ".embeddings." in n]
    assert left == []


def assert_equal_experiments(bench: Any, one: Path, other: Path) -> None:
    """The same files, and in them the same bits of every checkpoint and every record."""
    names = [
        {str(p.relative_to(folder)) for p in folder.rglob("*") if "tfevents" not in p.name}
        for folder in (one, other)
    ]
    assert names[0] == names[1]
    assert bench.tensors(one) == bench.tensors(other)
    assert bench.records(one) == bench.records(other)
    for name in (name for name in names[0] if name.endswith(".csv") and "meta_logs" not in name):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


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


def test_killed_for_good_it_goes_on(bench: Any, tmp_path: Path) -> None:
    """SIGKILL to a process of its own, once the teacher has saved its first epoch."""
    command = bench.tiny_student(schemes=1, epochs=12, iterations=1)
    command += " --pipeline {baseline: false}"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    flags = [*command.split(), "--root_experiment_folder", str(killed),
             "--dataset_root", str(bench.dataset_root)]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "run.py", *flags],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = killed / "slade_seed0"
    models = folder / "teacher" / SCHEMES[0] / "saved_models"
    try:
        while process.poll() is None and not any(models.glob("trunk_[0-9]*.pth")):
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
    assert state(folder)["stages"] == {}  # nor what it took: nothing of ours could run
    outcome = bench(command, RESUME, root=killed)
    assert outcome.code == 0, outcome.err
    assert bench(command, root=whole).code == 0
    for stage in ("teacher", "student"):
        assert_equal_experiments(bench, folder / stage, whole / "slade_seed0" / stage)
    assert table(folder) == table(whole / "slade_seed0")
    name = f"{SCHEMES[0]}/saved_csvs/logs.db: loss_histories"
    rows = bench.records(folder / "teacher")[name]
    assert len(rows) == 12  # no step is missing or counts twice
    assert {row["experiment"] for row in table(folder)} == {"teacher", "student"}


@pytest.mark.parametrize(
    ("target", "call", "error", "message"),
    [
        ("slade_plugin.base.files.os.replace", 3, OSError(errno.ENOSPC, "No space left on device"),
         "No space left on device"),
        (f"{FILES}.save_state", 4, OSError(errno.ENOSPC, "No space left on device"),
         "could not be written: No space left on device"),
        ("powerful_benchmarker.utils.common_functions.write_yaml", 2,
         OSError(errno.ENOSPC, "No space left on device", "x.yaml"), "x.yaml could not be written"),
        ("record_keeper.db_utils.DBManager.execute", 9,
         sqlite3.OperationalError("database or disk is full"), "database or disk is full"),
    ],
    ids=["atomic write", "checkpoint", "config", "database"],
)  # fmt: skip
def test_a_full_disk_is_one_message_and_nothing_is_lost(
    target: str, call: int, error: Exception, message: str, bench: Any, tmp_path: Path
) -> None:
    command = bench.tiny_student()
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, target, call, error)
        outcome = bench(command, root=tmp_path)
    assert came()
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    outcome = bench(command, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert table(tmp_path / "slade_seed0")


# ---- what does not fit what lies there ----------------------------------------------------------


@pytest.mark.parametrize(
    ("flag", "where", "old", "new"),
    [
        ("--pseudo_labels {num_clusters: 6}",
         "student/config_general/pseudo_labels/num_clusters", "8", "6"),
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
        flags = command.replace("--pseudo_labels {num_clusters: 8}", "")
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
    assert f"{copied / 'pipeline.json'} is damaged: " in outcome.err
    assert bench.snapshot(copied) == before


def test_a_missing_state_is_named(bench: Any, copied: Path, command: str) -> None:
    (copied / "pipeline.json").unlink()
    before = bench.snapshot(copied)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "holds experiments but no pipeline.json" in outcome.err
    assert bench.snapshot(copied) == before


def undo(copied: Path, *stages: str) -> None:
    """Makes stages unfinished, as if the run had been stopped in their evaluation."""
    content = state(copied)
    for stage in stages:
        content["stages"].pop(stage)
    (copied / "pipeline.json").write_text(json.dumps(content))


@pytest.mark.parametrize("damage", [b"", b"a: b: c", b"[]"])
def test_a_damaged_config_of_a_stage_is_named(
    damage: bytes, bench: Any, copied: Path, command: str
) -> None:
    undo(copied, "student")
    (copied / "student" / "configs" / "config_loss.yaml").write_bytes(damage)
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "the saved config " in outcome.err
    assert "student/configs/config_loss.yaml" in outcome.err


def test_a_damaged_checkpoint_is_named(bench: Any, copied: Path, command: str) -> None:
    undo(copied, "student", "baseline")
    path = copied / "student" / SCHEMES[1] / "saved_models" / "embedder_2.pth"
    path.write_bytes(path.read_bytes()[:-7])
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"CheckpointError: {path} is damaged" in outcome.err


def test_a_damaged_teacher_is_named(bench: Any, copied: Path, command: str) -> None:
    undo(copied, "pseudo_labels", "student", "baseline")
    shutil.rmtree(copied / "pseudo_labels")
    (path,) = (copied / "teacher" / SCHEMES[0] / "saved_models").glob("trunk_best[1-9].pth")
    path.write_bytes(b"no model")
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"the teacher's trunk {path} is damaged" in outcome.err


@pytest.mark.parametrize("suffix", ["npy", "json"])
@pytest.mark.parametrize("folder", ["pseudo_labels", f"student/{SCHEMES[1]}"])
def test_damaged_pseudo_labels_are_named(
    folder: str, suffix: str, bench: Any, copied: Path, command: str
) -> None:
    undo(copied, "student", "baseline")
    path = copied / folder / f"{SCHEMES[1]}.{suffix}"
    content = bytearray(path.read_bytes())
    content[-9] ^= 3
    path.write_bytes(bytes(content))
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"PseudoLabelError: {copied / folder / SCHEMES[1]}" in outcome.err


def test_other_data_are_refused(
    bench: Any, copied: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo(copied, "student")
    monkeypatch.setattr("slade_plugin.stages.student.pool_fingerprint", lambda pool: "another")
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert "the data of " in outcome.err
    assert "have changed: {" in outcome.err


def test_an_experiment_with_only_the_untrained_model_starts_anew(
    bench: Any, copied: Path, command: str, trained: list[Any]
) -> None:
    undo(copied, "baseline")
    for path in (copied / "baseline").rglob("*.pth"):
        if "best0" not in path.name:
            path.unlink()
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert trained == [("baseline", "train"), ("baseline", "evaluate")]


# ---- a teacher that exists already --------------------------------------------------------------


@pytest.fixture
def teacher(finished: Path, tmp_path: Path) -> Path:
    """A trained teacher to be changed."""
    return shutil.copytree(finished / "teacher", tmp_path / "teachers" / "mine")


def test_a_given_teacher_is_used_and_never_written_to(
    bench: Any, finished: Path, command: str, trained: list[Any], tmp_path: Path
) -> None:
    given = finished / "teacher"
    before = bench.snapshot(given)
    outcome = bench(command, f"--teacher_experiment {given}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert [stage for stage, what in trained if what == "train"] == ["student", "baseline"]
    assert "[1/3] pseudo labels" in outcome.out
    assert bench.snapshot(given) == before
    folder = tmp_path / "slade_seed0"
    assert sorted(p.name for p in folder.iterdir()) == [
        "baseline", "pipeline.json", "pseudo_labels", "results", "student",
    ]  # fmt: skip
    # The same teacher gives the same student and baseline as when it was trained here.
    assert table(folder) == table(finished)
    assert bench.tensors(folder / "student") == bench.tensors(finished / "student")


def test_a_given_teacher_may_be_named_by_a_relative_path(
    bench: Any, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(finished)
    command = bench.tiny_student("slade_basis", schemes=2)
    flags = "--pipeline {baseline: false}"
    outcome = bench(command, flags, "--teacher_experiment teacher", root=tmp_path)
    assert outcome.code == 0, outcome.err
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "slade_basis_seed0" / "student" / "configs" / "config_general.yaml"
    saved = yaml.safe_load(config.read_text())
    assert saved["teacher_experiment"] == str(finished / "teacher")


def test_settings_of_a_teacher_beside_a_given_one_are_refused(
    bench: Any, finished: Path, command: str, trained: list[Any], tmp_path: Path
) -> None:
    """They would have no effect."""
    flags = "--teacher.num_epochs_train 3 --teacher.sampler~APPLY~2 {m: 2}"
    outcome = bench(command, flags, f"--teacher_experiment {finished / 'teacher'}", root=tmp_path)
    assert outcome.code == 2
    assert "--teacher.num_epochs_train, --teacher.sampler~APPLY~2 is given together" in outcome.err
    assert trained == []
    assert list(tmp_path.iterdir()) == []


def test_the_baseline_of_a_given_teacher_is_trained_as_it_was(bench: Any, teacher: Path) -> None:
    """By its own saved config, not by the settings for a teacher of ours."""
    path = teacher / "configs" / "config_loss.yaml"
    saved = yaml.safe_load(path.read_text())
    saved["loss_funcs"] = {"metric_loss": {"TripletMarginLoss": {"margin": 0.3}}}
    path.write_text(yaml.safe_dump(saved))
    path.rename(path.with_name("config_loss_and_miners.yaml"))  # a teacher of the host's own
    edit(teacher / "configs" / "config_foldernames.yaml", "config_loss", "config_loss_and_miners")
    edit(teacher / "configs" / "config_general.yaml", "seed: 0\n", "")
    stages = bench.stages(f"--config_loss slade --teacher_experiment {teacher}")
    baseline = stages["baseline"]
    assert list(stages) == ["student", "baseline"]
    assert baseline.loss_funcs == {"metric_loss": {"TripletMarginLoss": {"margin": 0.3}}}
    assert steps(baseline) >= steps(stages["student"]) + 2 * 2  # its two epochs of two steps
    assert "config_loss_and_miners" in baseline.config_foldernames
    assert baseline.dict_of_yamls["config_general"]["num_epochs_train"] > 2
    command = bench.tiny_student(schemes=2, epochs=1)
    outcome = bench(command, f"--teacher_experiment {teacher}", root=teacher.parent)
    assert outcome.code == 0, outcome.err
    configs = teacher.parent / "slade_seed0" / "baseline" / "configs"
    assert "TripletMarginLoss" in (configs / "config_loss_and_miners.yaml").read_text()
    assert not (configs / "config_loss.yaml").exists()


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def other_letters(teacher: Path) -> None:
    edit(teacher / "configs" / "config_dataset.yaml", "letters_per_script: 8",
         "letters_per_script: 9")  # fmt: skip


def other_split(teacher: Path) -> None:
    edit(teacher / "configs" / "config_dataset.yaml", "test_start_idx: 0.5", "test_start_idx: 0.25")


def no_best(teacher: Path) -> None:
    for path in (teacher / SCHEMES[1]).rglob("*_best[1-9].*"):
        path.unlink()


def half_a_model(teacher: Path) -> None:
    for path in (teacher / SCHEMES[1]).rglob("embedder_best[1-9].pth"):
        path.write_bytes(path.read_bytes()[:100])


def no_test_records(teacher: Path) -> None:
    for path in teacher.rglob("logs.db"):
        with sqlite3.connect(path) as database:
            rows = database.execute("SELECT name FROM sqlite_master WHERE name LIKE '%_TEST'")
            for (name,) in rows.fetchall():
                database.execute(f"DROP TABLE [{name}]")
        database.close()


def no_config(teacher: Path) -> None:
    (teacher / "configs" / "config_dataset.yaml").unlink()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (other_letters, "trained with another dataset: Glyphs/letters_per_script is 9 there and 8"),
        (other_split, "another split_manager: ClassDisjointSplitManager/test_start_idx is 0.25"),
        (no_best, "holds no trained best model"),
        (half_a_model, "the teacher's embedder"),
        (no_test_records, "on test; expected one. Evaluate it: run.py"),
        (no_config, "configs/config_dataset.yaml cannot be read"),
        (shutil.rmtree, "there is no teacher in"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything(
    spoil: Callable[[Path], None],
    message: str,
    bench: Any,
    teacher: Path,
    command: str,
    trained: list[Any],
    tmp_path: Path,
) -> None:
    spoil(teacher)
    before = bench.snapshot(teacher)
    outcome = bench(command, f"--teacher_experiment {teacher}", root=tmp_path / "new")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert trained == []
    assert not (tmp_path / "new").exists()
    assert bench.snapshot(teacher) == before


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--models {trunk~OVERRIDE~: {conv4: {hidden_size: 4}}}", "is of another architecture"),
        ("--models {embedder~OVERRIDE~: {MLP: {layer_sizes: [16, 16]}}}", "another architecture"),
        ("--split_manager~APPLY~2 {num_training_partitions: 4, num_training_sets: 1}",
         "another split_manager: ClassDisjointSplitManager/num_training_partitions is 2 there"),
        ("--split_manager~OVERRIDE~ {ClosedSetSplitManager: {random_seed: 0, test_size: 0.5, "
         "num_training_partitions: 2, num_training_sets: 1}}",
         "another split_manager: ClassDisjointSplitManager is"),
    ],
)  # fmt: skip
def test_a_student_that_does_not_fit_the_teacher_is_refused(
    flag: str,
    message: str,
    bench: Any,
    finished: Path,
    trained: list[Any],
    tmp_path: Path,
) -> None:
    key = flag.split()[0].split("~")[0]
    command = bench.tiny_student(schemes=2, epochs=2, iterations=2)
    if key == "--models":
        start = command.index("--models")
        command = command[:start] + command[command.index("--log_data") :]
        both = {"trunk": "conv4: {hidden_size: 8}", "embedder": "MLP: {layer_sizes: [16]}"}
        rest = next(part for part in both if f"{part}~" not in flag)
        flag = flag[:-1] + f", {rest}~OVERRIDE~: {{{both[rest]}}}}}"
    outcome = bench(command, flag, f"--teacher_experiment {finished / 'teacher'}", root=tmp_path)
    assert outcome.code == 2
    assert message in outcome.err
    assert trained == []
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_is_no_teacher_but_holds_one(
    bench: Any, finished: Path, command: str, tmp_path: Path
) -> None:
    outcome = bench(command, f"--teacher_experiment {finished}", root=tmp_path)
    assert outcome.code == 2
    assert f"holds several experiments; expected one of them, {finished / 'teacher'}" in outcome.err


def test_a_pipeline_with_a_given_teacher_is_resumed_with_the_same_one(
    bench: Any, finished: Path, teacher: Path, tmp_path: Path
) -> None:
    command = bench.tiny_student(schemes=2) + " --pipeline {baseline: false}"
    given = f"--teacher_experiment {finished / 'teacher'}"
    with pytest.MonkeyPatch.context() as patch:
        raise_at(patch, f"{PIPELINE}.write_tables", 1, KeyboardInterrupt)
        assert bench(command, given, root=tmp_path).code == 130
    outcome = bench(command, f"--teacher_experiment {teacher}", RESUME, root=tmp_path)
    assert outcome.code == 2
    assert "student/config_general/teacher_experiment was" in outcome.err
    assert bench(command, given, RESUME, root=tmp_path).code == 0


def test_the_teacher_of_a_config_file_is_used(
    bench: Any, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slade_plugin.config.composition import config_root

    root = shutil.copytree(config_root(), tmp_path / "configs")
    (root / "config_general" / "mine.yaml").write_text(
        f"teacher_experiment: {finished / 'teacher'}\n"
    )
    monkeypatch.setattr("slade_plugin.runner.config_root", lambda: root)
    stages = bench.stages("--config_loss slade --config_general mine")
    assert list(stages) == ["student", "baseline"]
    assert stages["student"].teacher_experiment == str(finished / "teacher")


# ---- rounds -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rounds(bench: Any) -> str:
    """Two rounds, the student of the second starting from that of the first."""
    tiny = bench.tiny_student(schemes=1, epochs=2, iterations=2)
    return f"{tiny} --rounds 2 --student_initialization teacher"


@pytest.fixture(scope="module")
def two_rounds(bench: Any, rounds: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two rounds. Read only."""
    root = tmp_path_factory.mktemp("rounds")
    outcome = bench(rounds, root=root)
    assert outcome.code == 0, outcome.err
    (root / "out.txt").write_text(outcome.out)
    return root / "slade_seed0"


def test_the_first_round_is_a_run_of_one_round(
    bench: Any, two_rounds: Path, rounds: str, tmp_path: Path
) -> None:
    flags = rounds.replace("--rounds 2", "--pipeline {baseline: false}")
    assert bench(flags, root=tmp_path).code == 0
    one = tmp_path / "slade_seed0"
    for stage in ("teacher", "student"):
        assert bench.tensors(two_rounds / stage) == bench.tensors(one / stage)
        assert bench.records(two_rounds / stage) == bench.records(one / stage)
    assert sorted(p.name for p in two_rounds.iterdir()) == [
        "baseline", "pipeline.json", "pseudo_labels", "results", "round2", "student", "teacher",
    ]  # fmt: skip
    assert sorted(p.name for p in (two_rounds / "round2").iterdir()) == ["pseudo_labels", "student"]


def test_the_second_round_learns_from_the_first_student(bench: Any, two_rounds: Path) -> None:
    """Its pseudo labels are those of the best student, and its weights start there."""
    first = Teacher(two_rounds / "student", SCHEMES[0])
    second = load_pseudo_labels(two_rounds / "round2" / "pseudo_labels", SCHEMES[0])
    assert second.manifest["teacher_sha256"] == first.sha256()
    own = load_pseudo_labels(two_rounds / "round2" / "student" / SCHEMES[0], SCHEMES[0])
    assert own.manifest == second.manifest
    models = two_rounds / "round2" / "student" / SCHEMES[0] / "saved_models"
    for part in ("trunk", "embedder"):
        start = torch.load(models / f"{part}_best0.pth", weights_only=True)
        teachers = torch.load(first.paths[part], weights_only=True)
        assert all(torch.equal(start[key], teachers[key]) for key in teachers)


def test_a_round_says_how_far_its_pseudo_labels_moved(two_rounds: Path) -> None:
    first, second = (
        load_pseudo_labels(two_rounds / folder, SCHEMES[0])
        for folder in ("pseudo_labels", "round2/pseudo_labels")
    )
    change = second.manifest["last_round"]
    expected = compare_with_last_round(second.cluster_ids, first.cluster_ids)
    assert {k: change[k] for k in expected} == expected
    assert "last_round" not in first.manifest
    content = state(two_rounds)["stages"]["round2/pseudo_labels"]["manifests"]
    assert content[SCHEMES[0]]["last_round"] == change
    out = (two_rounds.parent / "out.txt").read_text()
    assert "[4/6] pseudo labels, round 2: 8 clusters" in out
    assert (
        f"{SCHEMES[0]}: against the last round NMI {change['NMI']:.3f}, "
        f"{100 * change['moved']:.1f} % of the images moved"
    ) in out


def test_the_table_has_a_row_a_round(two_rounds: Path) -> None:
    rows = table(two_rounds)
    order = list(dict.fromkeys(row["experiment"] for row in rows))
    assert order == ["baseline", "teacher", "student_round1", "student"]
    for row, folder in (("student_round1", "student"), ("student", "round2/student")):
        recorded = read_experiment(two_rounds / folder, ["val", "test"])
        for found in (r for r in rows if r["experiment"] == row and r["split_scheme"] != "mean"):
            for metric in METRICS:
                assert found[metric] == recorded[found["split"]][metric][found["split_scheme"]]
    assert "| student, round 1 " in (two_rounds / "results" / "table.md").read_text()


# Teacher and students take four steps each, the baseline twelve.
@pytest.mark.parametrize(
    ("target", "call", "done"),
    [
        (f"{STATE}.RunState.save", 4, ["teacher", "pseudo_labels"]),
        (f"{PSEUDO_LABELS}.cluster_embeddings", 2, ["teacher", "pseudo_labels", "student"]),
        (f"{PSEUDO_LABELS}.compare_with_last_round", 1, ["teacher", "pseudo_labels", "student"]),
        (f"{STUDENT_PARSER}.shutil.copyfile", 3,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels"]),
        ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 6,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels"]),
        ("slade_plugin.method.trainers.SladeStudent.calculate_loss", 8,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels"]),
        (STEP, 20,
         ["teacher", "pseudo_labels", "student", "round2/pseudo_labels", "round2/student"]),
    ],
)  # fmt: skip
def test_stopped_in_any_round_it_goes_on_to_the_same_end(
    target: str,
    call: int,
    done: list[str],
    bench: Any,
    two_rounds: Path,
    rounds: str,
    tmp_path: Path,
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        came = raise_at(patch, target, call, KeyboardInterrupt)
        assert bench(rounds, root=tmp_path).code == 130
    assert came()
    folder = tmp_path / "slade_seed0"
    assert [s for s, e in state(folder)["stages"].items() if e.get("done")] == done
    outcome = bench(rounds, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert_equal_rounds(bench, folder, two_rounds)


def assert_equal_rounds(bench: Any, one: Path, other: Path) -> None:
    for stage in ("student", "round2/student", "baseline"):
        assert_equal_experiments(bench, one / stage, other / stage)
    for labels in ("pseudo_labels", "round2/pseudo_labels"):
        found, expected = (load_pseudo_labels(f / labels, SCHEMES[0]) for f in (one, other))
        assert found.manifest["ids_sha256"] == expected.manifest["ids_sha256"]
        assert found.manifest.get("last_round") == expected.manifest.get("last_round")
    assert table(one) == table(other)


def test_a_given_teacher_has_rounds_too(
    bench: Any, two_rounds: Path, rounds: str, tmp_path: Path
) -> None:
    """The same as when it was trained here, also after an interruption in the second round."""
    command = f"{rounds} --teacher_experiment {two_rounds / 'teacher'}"
    before = bench.snapshot(two_rounds / "teacher")
    with pytest.MonkeyPatch.context() as patch:
        raise_at(
            patch, "slade_plugin.method.trainers.SladeStudent.calculate_loss", 7, KeyboardInterrupt
        )
        assert bench(command, root=tmp_path).code == 130
    outcome = bench(command, RESUME, root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert "[4/5] student, round 2" in outcome.out
    assert_equal_rounds(bench, tmp_path / "slade_seed0", two_rounds)
    assert bench.snapshot(two_rounds / "teacher") == before


def test_a_round_can_be_evaluated_by_name(bench: Any, two_rounds: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(two_rounds, tmp_path / two_rounds.name)
    evaluate = "--evaluate --splits_to_eval [train]"
    outcome = bench(f"--experiment_name slade_seed0 {evaluate}", root=tmp_path)
    assert outcome.code == 2
    for name in ("baseline", "round2/student", "student", "teacher"):
        assert f"--experiment_name slade_seed0/{name}" in outcome.err
    outcome = bench(f"--experiment_name slade_seed0/round2/student {evaluate}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert any(name.endswith("_TRAIN") for name in bench.records(folder / "round2" / "student"))


def test_other_rounds_are_named(bench: Any, two_rounds: Path, rounds: str, tmp_path: Path) -> None:
    folder = shutil.copytree(two_rounds, tmp_path / two_rounds.name)
    before = bench.snapshot(folder)
    outcome = bench(rounds.replace("--rounds 2", "--rounds 3"), RESUME, root=tmp_path)
    assert outcome.code == 2
    assert "with the stages teacher, student, round2/student, baseline, but now" in outcome.err
    assert "round3/student, baseline; expected the same. Resume with the same --rounds" in (
        outcome.err
    )
    assert bench.snapshot(folder) == before


def test_unwritable_folder(bench: Any, command: str, tmp_path: Path) -> None:
    """As root everything can be written, so a file stands where a folder should be."""
    (tmp_path / "experiments").touch()
    outcome = bench(command, root=tmp_path / "experiments")
    assert outcome.code == 2
    assert "experiments is not a folder that can be written" in outcome.err
    assert os.listdir(tmp_path) == ["experiments"]
