"""From the command line to the config of each stage."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.config.keys import STUDENT_KEYS


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
        "pseudo_labels": "{clusterer: {KMeans: {num_clusters: 9}}}",
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


def test_a_pipeline_is_no_teacher_but_holds_one(
    bench: Any, finished: Path, command: str, tmp_path: Path
) -> None:
    outcome = bench(command, f"--teacher_experiment {finished}", root=tmp_path)
    assert outcome.code == 2
    assert (
        f"contains several experiments; expected one of them, {finished / 'teacher'}" in outcome.err
    )


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


def test_one_round_is_the_default(bench: Any) -> None:
    plain, one = (bench.stages(f"--config_loss slade {f}") for f in ("", "--rounds 1"))
    assert {k: vars(v) for k, v in plain.items()} == {k: vars(v) for k, v in one.items()}
