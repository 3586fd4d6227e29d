"""One experiment through our runner: its config, the host's flags on it, and what is refused."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.runner import (
    SladeRunner,
    default_experiment_name,
)

VAL = "logs.db: accuracies_normalized_compared_to_self_GlobalEmbeddingSpaceTester_level_0_VAL"
META = "MeanAggregator_accuracies_normalized_compared_to_self_GlobalEmbeddingSpaceTester_level_0_"


@pytest.fixture(scope="session")
def baseline(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain experiment of two split schemes and two epochs. Read only."""
    root = tmp_path_factory.mktemp("baseline")
    outcome = bench(f"--config_loss contrastive {bench.tiny(2, 2, 2)}", root=root)
    assert outcome.code == 0, outcome.err
    return root / "contrastive_seed0"


@pytest.fixture
def copied(baseline: Path, tmp_path: Path) -> Path:
    """The same to be changed."""
    return shutil.copytree(baseline, tmp_path / "experiments" / baseline.name)


@pytest.fixture
def student(finished: Path, tmp_path: Path) -> Path:
    """A student to be changed."""
    return shutil.copytree(finished / "student", tmp_path / "experiments" / "student")


def epochs_of(records: dict[str, Any], split: str = "VAL") -> list[list[int]]:
    """Recorded epochs by split scheme."""
    return [
        [row["epoch"] for row in rows]
        for table, rows in records.items()
        if table.endswith(f"_{split}") and "Aggregator" not in table and "Ensemble" not in table
        and "Concatenate" not in table
    ]  # fmt: skip


# ---- names and folders --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "name"),
    [
        ("", "default_seed0"),
        ("--config_loss slade", "slade_seed0"),
        ("--config_loss slade --seed 7", "slade_seed7"),
        ("--seed=7 --config_loss slade", "slade_seed7"),
        ("--config_loss [default, slade]", "slade_seed0"),
        ("--config_loss [default, slade_basis, slade] --seed 1", "slade_basis_slade_seed1"),
        ("--config_loss [default]", "default_seed0"),
        ("--config_dataset icons --config_loss slade --seed 2", "slade_icons_seed2"),
        ("--config_loss slade --config_dataset [default, folders]", "slade_folders_seed0"),
        ("--config_dataset=icons", "icons_seed0"),
        ("--config_loss", "default_seed0"),
    ],
)
def test_default_experiment_name(flags: str, name: str) -> None:
    assert default_experiment_name(flags.split()) == name


# ---- the merged config --------------------------------------------------------------------------


def test_a_file_and_the_users_words_are_merged_in_order(bench: Any) -> None:
    args = bench.config("--config_loss triplet --loss_funcs", "{metric_loss: "
                        "{TripletMarginLoss: {margin: 0.5}}}")  # fmt: skip
    assert args.loss_funcs == {"metric_loss": {"TripletMarginLoss": {"margin": 0.5}}}
    assert args.dict_of_yamls["config_foldernames"]["config_loss"] == ["default", "triplet"]


@pytest.mark.parametrize(
    ("flags", "key", "expected"),
    [
        ("--loss_funcs {metric_loss~OVERRIDE~: {FastAPLoss: {num_bins: 3}}}", "loss_funcs",
         {"metric_loss": {"FastAPLoss": {"num_bins": 3}}}),
        ("--loss_funcs~OVERRIDE~ {metric_loss: {FastAPLoss: {num_bins: 3}}}", "loss_funcs",
         {"metric_loss": {"FastAPLoss": {"num_bins": 3}}}),
        ("--loss_funcs {metric_loss~SWAP~1: {FastAPLoss: {}}} --config_loss default", "loss_funcs",
         {"metric_loss": {"FastAPLoss": {}}}),
        ("--optimizers~APPLY~3 {lr: 0.25}", "optimizers",
         {f"{part}_optimizer": {"Adam": {"lr": 0.25}} for part in ("trunk", "embedder")}),
        ("--optimizers~SWAP~2 {SGD: {}} --optimizers~APPLY~3 {lr: 0.25}", "optimizers",
         {f"{part}_optimizer": {"SGD": {"lr": 0.25}} for part in ("trunk", "embedder")}),
        ("--models {trunk: {conv4: {hidden_size~DELETE~: 0}}}", "models.trunk.conv4", {}),
        ("--mining_funcs {tuple_miner: {MultiSimilarityMiner: {epsilon: 0.1}}}", "mining_funcs",
         {"tuple_miner": {"MultiSimilarityMiner": {"epsilon": 0.1}}}),
        ("--splits_to_eval [val, train]", "splits_to_eval", ["val", "train"]),
        ("--patience 3", "patience", 3),
        ("--seed 5", "seed", 5),
    ],
)  # fmt: skip
def test_the_hosts_keywords_reach_the_config(
    flags: str, key: str, expected: Any, bench: Any
) -> None:
    config = "" if "--config_loss" in flags else "--config_loss contrastive "
    value: Any = vars(bench.config(config + flags))
    for part in key.split("."):
        value = value[part]
    assert value == expected


@pytest.mark.parametrize(
    ("flags", "pipeline"),
    [
        ("--rounds 3", {"rounds": 3}),
        ("--rounds 3 --pipeline {baseline: false}", {"rounds": 3, "baseline": False}),
        ("--pipeline {rounds: 2} --rounds 3", {"rounds": 3}),
        ("--pipeline {rounds: 2}", {"rounds": 2}),
    ],
)
def test_rounds_are_a_value_of_the_pipeline(
    flags: str, pipeline: dict[str, Any], bench: Any
) -> None:
    shipped = bench.config("--config_loss slade").pipeline
    assert shipped["rounds"] == 1
    assert bench.config(f"--config_loss slade {flags}").pipeline == shipped | pipeline


def test_rounds_go_with_a_pipeline_that_replaces_the_shipped_one(bench: Any) -> None:
    pipeline = "--pipeline~OVERRIDE~ {teacher: {config_loss: triplet}} --rounds 2"
    found = bench.config(f"--config_loss slade {pipeline}").pipeline
    assert found == {"teacher": {"config_loss": "triplet"}, "rounds": 2}


OWN = "--config_dataset folders --labeled photos --unlabeled ~/more.txt"


def test_own_images_are_a_value_of_the_data_set(
    bench: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    config = bench.config(
        f"--config_loss slade {OWN} --dataset {{FolderImages: {{max_unreadable: 3}}}}"
    )
    assert config.dataset == {
        "FolderImages": {
            "path": str(tmp_path / "photos"),
            "labeled": True,
            "min_images_per_class": 2,
            "cache": {"short_side": 256},
            "max_unreadable": 3,
        }
    }
    assert config.unlabeled_dataset["FolderImages"]["path"] == "/home/me/more.txt"
    saved = config.dict_of_yamls["config_dataset"]  # what --evaluate will find
    assert saved["dataset"] == config.dataset
    assert saved["unlabeled_dataset"] == config.unlabeled_dataset
    assert not hasattr(config, "labeled")


@pytest.mark.parametrize(
    "other", ["--dataset~OVERRIDE~ {Icons: {}}", "--dataset~APPLY~2 {path: photos}"]
)
def test_own_images_are_not_said_twice(other: str, bench: Any) -> None:
    with pytest.raises(ConfigError, match=r"--labeled is given together with --dataset~"):
        bench.config(f"{OWN} {other}")


def test_a_key_that_no_file_has_is_saved_all_the_same(bench: Any) -> None:
    """CUB-200 has no pool in the shipped configs; a resumed student must still know its own."""
    pool = "{Glyphs: {subset: unlabeled}}"
    args = bench.config(f"--config_loss slade --config_dataset cub200 --unlabeled_dataset {pool}")
    assert args.unlabeled_dataset == {"Glyphs": {"subset": "unlabeled"}}
    assert args.dict_of_yamls["config_general"]["unlabeled_dataset"] == args.unlabeled_dataset


def test_reading_a_config_twice_gives_the_same(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["run.py", "--config_loss", "slade"])
    runner = SladeRunner()
    runner.set_YR()
    first, second = runner.read(runner.YR), runner.read(runner.YR)
    assert vars(first) == vars(second)


def test_an_unknown_api_parser_is_no_fallback(bench: Any, full_getter: Any) -> None:
    """The host would go on with its base class and a warning."""
    runner = SladeRunner()
    args = bench.config("--config_loss contrastive")
    args.trainer = {"BaseTrainer": {}}
    with pytest.raises(ConfigError, match=r"suits most trainers.: there is no api_parser"):
        runner.get_api_parser(args)


# ---- building everything once -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--trainer~APPLY~2 {loss_weights: {metric_los: 1}}", "loss_weights keys must be one of"),
        ("--trainer~APPLY~2 {freeze_these: [truk]}", "freeze_these keys must be one of"),
        ("--optimizers {truk_optimizer: {Adam: {}}}", "truk_optimizer"),
        ("--hook_container~APPLY~2 {primary_metric: precision_at_2}",
         "primary_metric is 'precision_at_2' (did you mean 'precision_at_1'?)"),
        ("--tester~APPLY~2 {accuracy_calculator: {AccuracyCalculator: {exclude: "
         "[mean_average_precision_at_r]}}}", "primary_metric is 'mean_average_precision_at_r'"),
        ("--tester~APPLY~2 {reference_set: compared_to_me}", "compared_to_me"),
        ("--sampler~APPLY~2 {batch_size: 7}", "sampler (config_loss) cannot be built"),
        ("--split_manager~APPLY~2 {num_training_partitions: 1}", "split manager cannot be built"),
        ("--models {embedder~OVERRIDE~: {MLP: {layer_sizes: [x]}}}", "models (config_models)"),
    ],
)  # fmt: skip
def test_what_the_host_meets_in_the_middle_is_met_before(
    flags: str, message: str, bench: Any, tmp_path: Path
) -> None:
    outcome = bench(f"--config_loss contrastive {bench.tiny()} {flags}", root=tmp_path / "e")
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert not (tmp_path / "e").exists()


def test_the_trial_leaves_config_and_disk_as_they_are(
    full_getter: Any, experiment_args: Any, tmp_path: Path
) -> None:
    runner = SladeRunner()
    runner.pytorch_getter = full_getter
    args = experiment_args(tmp_path / "new", api_parser=None)
    before = str(vars(args))
    parser = runner.try_to_build(args)
    assert type(parser.trainer).__name__ == "SladeStudent"
    assert len(parser.trainer.unlabeled_dataset) == 96  # 8 classes x 12 points
    assert str(vars(args)) == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "flags",
    [
        "--trainer~SWAP~1 {TrainWithClassifier: {}} --models {classifier: {MLP: {layer_sizes: "
        "[]}}} --loss_funcs {classifier_loss: {CrossEntropyLoss: {}}} "
        "--optimizers {classifier_optimizer: {Adam: {lr: 0.1}}}",
        "--trainer~SWAP~1 {UnsupervisedEmbeddingsUsingAugmentations: {}} --transforms~OVERRIDE~ "
        "{eval: {}, augmentation1: {RandomHorizontalFlip: {}}, augmentation2: {Resize: {size: "
        "32}}}",
        "--tester~APPLY~2 {reference_set: compared_to_sets_combined} --splits_to_eval [train, val]",
    ],
    ids=["classifier", "unsupervised", "sets combined"],
)
def test_the_hosts_other_ways_to_train_and_evaluate_pass_the_trial(
    flags: str, bench: Any, tmp_path: Path
) -> None:
    outcome = bench(f"--config_loss contrastive {bench.tiny()} {flags}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    models = tmp_path / "contrastive_seed0" / "Test50_50_Partitions2_0" / "saved_models"
    assert (models / "trunk_1.pth").is_file()
    assert (models / "classifier_1.pth").is_file() == ("classifier" in flags)


# ---- runs ---------------------------------------------------------------------------------------


def test_a_taken_name_is_refused_and_left_alone(bench: Any, copied: Path) -> None:
    before = bench.snapshot(copied)
    outcome = bench(f"--config_loss contrastive {bench.tiny(2, 2, 2)}", root=copied.parent)
    assert outcome.code == 2  # the host ends with 0
    assert "is taken (it contains " in outcome.err
    assert bench.snapshot(copied) == before


def test_equal_seeds_give_equal_records_and_weights(
    bench: Any, baseline: Path, tmp_path: Path
) -> None:
    for seed, equal in ((0, True), (1, False)):
        flags = f"--config_loss contrastive {bench.tiny(2, 2, 2)} --seed {seed}"
        assert bench(flags, root=tmp_path).code == 0
        again = tmp_path / f"contrastive_seed{seed}"
        assert (bench.records(again) == bench.records(baseline)) is equal
        assert (bench.tensors(again) == bench.tensors(baseline)) is equal
    assert bench.records(again).keys() == bench.records(baseline).keys()


def test_each_split_scheme_is_seeded_by_itself(bench: Any, baseline: Path, tmp_path: Path) -> None:
    """With one scheme only, the first one's records are what they were with two."""
    flags = f"--config_loss contrastive {bench.tiny(1, 2, 2)} --experiment_name one"
    assert bench(flags, root=tmp_path).code == 0
    scheme = "Test50_50_Partitions2_0"
    assert bench.records(tmp_path / "one" / scheme) == bench.records(baseline / scheme)
    assert bench.tensors(tmp_path / "one" / scheme) == bench.tensors(baseline / scheme)


def test_schedulers_and_clipping_act_in_every_split_scheme(
    bench: Any, baseline: Path, tmp_path: Path
) -> None:
    """The host builds neither, and the second scheme would lose its scheduler.

    StepLR halves the rate after each of two epochs. A step of SGD along a gradient of norm 1e-12
    is lost in float32, so a clipped embedder stays bit for bit as it was made.
    """
    optimizers = (
        "--optimizers {trunk_optimizer~OVERRIDE~: {Adam: {lr: 0.01}, scheduler_by_epoch: "
        "{StepLR: {step_size: 1, gamma: 0.5}}}, embedder_optimizer~OVERRIDE~: {SGD: {lr: 0.1}, "
        "clip_grad_norm: 1.0e-12}}"
    )
    flags = f"--config_loss contrastive {bench.tiny(2, 2, 2)} {optimizers}"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "contrastive_seed0"
    rates = {
        table: [row["lr"] for row in rows]
        for table, rows in bench.records(folder).items()
        if table.endswith("trunk_optimizer_Adam")
    }
    assert len(rates) == 2
    assert all(lrs == [0.01, 0.01, 0.005, 0.005] for lrs in rates.values())
    tensors = bench.tensors(folder)
    for scheme in ("Test50_50_Partitions2_0", "Test50_50_Partitions2_1"):
        models = {name: tensors[f"{scheme}/saved_models/{name}.pth"] for name in (
            "embedder_best0", "embedder_2", "trunk_best0", "trunk_2")}  # fmt: skip
        assert models["embedder_best0"] == models["embedder_2"]
        assert models["trunk_best0"] != models["trunk_2"]
        assert f"{scheme}/saved_models/trunk_scheduler_by_epoch_2.pth" in tensors


def test_resume_latest_goes_on_to_more_epochs(bench: Any, copied: Path) -> None:
    flags = "--experiment_name contrastive_seed0 --resume_training latest --num_epochs_train 3"
    outcome = bench(f"{flags} --merge_argparse_when_resuming", root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert epochs_of(bench.records(copied)) == [[1, 2, 3], [1, 2, 3]]
    scheme = copied / "Test50_50_Partitions2_0" / "saved_models"
    assert (scheme / "trunk_3.pth").is_file()
    assert not (scheme / "trunk_2.pth").exists()


def test_resume_best_goes_on_from_the_best_model(bench: Any, copied: Path) -> None:
    before = bench.records(copied)
    best = [rows[-1]["best_epoch"] for table, rows in before.items() if VAL in table]
    flags = "--experiment_name contrastive_seed0 --resume_training best --num_epochs_train 3"
    outcome = bench(f"{flags} --merge_argparse_when_resuming", root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert epochs_of(bench.records(copied)) == [[1, 2, 3], [1, 2, 3]]
    after = [rows for table, rows in bench.records(copied).items() if VAL in table]
    for epoch, old, new in zip(best, [r for t, r in before.items() if VAL in t], after,
                               strict=True):  # fmt: skip
        assert new[: int(epoch)] == old[: int(epoch)]


def test_resuming_what_does_not_exist_is_refused(bench: Any, tmp_path: Path) -> None:
    flags = "--config_loss contrastive --experiment_name none --resume_training latest"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 2
    assert "none/configs/config_dataset.yaml cannot be read" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_adds_the_test_split_and_nothing_else(bench: Any, copied: Path) -> None:
    before, tensors = bench.records(copied), bench.tensors(copied)
    flags = "--experiment_name contrastive_seed0 --evaluate --splits_to_eval [test]"
    assert bench(flags, root=copied.parent).code == 0
    after = bench.records(copied)
    assert {t: r for t, r in after.items() if t in before} == before
    best = [rows[-1]["best_epoch"] for table, rows in before.items() if VAL in table]
    assert epochs_of(after, "TEST") == [[epoch] for epoch in best]
    assert bench.tensors(copied) == tensors


def test_evaluating_an_untrained_experiment_is_refused(bench: Any, copied: Path) -> None:
    for path in copied.rglob("trunk_*.pth"):
        if "best0" not in path.name:
            path.unlink()
    for flag in ("--evaluate", "--evaluate_ensemble"):
        outcome = bench(f"--experiment_name contrastive_seed0 {flag}", root=copied.parent)
        assert outcome.code == 2
        assert "Partitions2_0 has no trained model; expected a finished" in outcome.err


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "there is no nowhere/configs/config_foldernames.yaml"), (".", "there is no ")],
)
def test_reproducing_what_is_no_experiment_is_refused(
    source: str, message: str, bench: Any, tmp_path: Path
) -> None:
    """The host would train its default config without a word."""
    outcome = bench(f"--experiment_name again --reproduce_results {source}", root=tmp_path)
    assert outcome.code == 2
    assert f"--reproduce_results {source}: {message}" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_reproducing_needs_every_saved_config(bench: Any, copied: Path) -> None:
    (copied / "configs" / "config_loss.yaml").unlink()
    flags = f"--experiment_name again --reproduce_results {copied}"
    outcome = bench(flags, root=copied.parent)
    assert outcome.code == 2
    assert re.search(r"config_loss\.yaml cannot be read", outcome.err)
    assert not (copied.parent / "again").exists()


def test_an_experiment_of_other_areas_is_reproduced_by_them(
    bench: Any, copied: Path, baseline: Path
) -> None:
    """The host's own area of losses has another name than ours; nothing is looked up by it."""
    configs = copied / "configs"
    (configs / "config_loss.yaml").rename(configs / "config_loss_and_miners.yaml")
    areas = (configs / "config_foldernames.yaml").read_text()
    areas = areas.replace("config_loss", "config_loss_and_miners")
    (configs / "config_foldernames.yaml").write_text(areas)
    flags = f"--experiment_name again --reproduce_results {copied}"
    outcome = bench(flags, root=copied.parent)
    assert outcome.code == 0, outcome.err
    assert bench.records(copied.parent / "again") == bench.records(baseline)


# ---- the host's flags on a student --------------------------------------------------------------


def test_a_student_is_reproduced_bit_for_bit(bench: Any, finished: Path, tmp_path: Path) -> None:
    flags = f"--experiment_name again --reproduce_results {finished / 'student'}"
    assert bench(flags, root=tmp_path).code == 0
    assert bench("--experiment_name again --evaluate --splits_to_eval [val, test]",
                 root=tmp_path).code == 0  # fmt: skip
    again, student = tmp_path / "again", finished / "student"
    assert bench.records(again) == bench.records(student)
    assert bench.tensors(again) == bench.tensors(student)
    assert any("basis_loss" in name for name in bench.tensors(again))
    saved = {p.name: yaml.safe_load(p.read_text()) for p in (again / "configs").glob("*.yaml")}
    # The student names the other stages of its run relative to itself; from elsewhere, in full.
    run = str(finished.resolve())
    for path in (student / "configs").glob("*.yaml"):
        expected = path.read_text().replace(" ../", f" {run}/")
        assert saved[path.name] == yaml.safe_load(expected), path.name


def test_a_student_is_evaluated_again_from_its_own_folder(bench: Any, student: Path) -> None:
    for path in student.rglob("*_TEST.csv"):
        path.unlink()
    before = bench.records(student)
    flags = "--experiment_name student --evaluate --splits_to_eval [test]"
    outcome = bench(f"{flags} --skip_eval_if_already_done False", root=student.parent)
    assert outcome.code == 0, outcome.err
    after = bench.records(student)
    for table, rows in after.items():
        if table.endswith("_TEST") and "Aggregator" not in table:
            (old,) = before[table]
            assert [{**row, "id": 1} for row in rows] == [old] * 2


def test_the_ensemble_of_a_students_split_schemes_is_evaluated(bench: Any, student: Path) -> None:
    """Two models of 16 numbers side by side; the scores go to the meta logs."""
    flags = "--experiment_name student --evaluate_ensemble --splits_to_eval [test]"
    outcome = bench(flags, root=student.parent)
    assert outcome.code == 0, outcome.err
    tables = {t: rows for t, rows in bench.records(student).items() if "Concatenate" in t}
    ((name, rows),) = tables.items()
    assert name.startswith("meta_logs/")
    assert name.endswith("_TEST")
    (row,) = rows
    assert row["trained_status"] == "trained"
    assert 0 <= row["mean_average_precision_at_r_level0"] <= 1


@pytest.mark.parametrize("which", ["latest", "best"])
def test_a_student_goes_on_to_more_epochs(which: str, bench: Any, student: Path) -> None:
    flags = f"--experiment_name student --resume_training {which} --num_epochs_train 3"
    outcome = bench(f"{flags} --merge_argparse_when_resuming", root=student.parent)
    assert outcome.code == 0, outcome.err
    assert epochs_of(bench.records(student)) == [[1, 2, 3], [1, 2, 3]]
    for scheme in student.glob("Test*"):
        assert (scheme / "saved_models" / "basis_loss_3.pth").is_file()


def test_a_pipelines_folder_cannot_be_evaluated_as_a_whole(bench: Any, finished: Path) -> None:
    before = bench.snapshot(finished)
    outcome = bench("--experiment_name slade_seed0 --evaluate", root=finished.parent)
    assert outcome.code == 2
    assert "--experiment_name slade_seed0/student" in outcome.err
    assert bench.snapshot(finished) == before


def test_a_pipeline_cannot_be_resumed_as_something_else(bench: Any, finished: Path) -> None:
    before = bench.snapshot(finished)
    flags = "--experiment_name slade_seed0 --resume_training latest"
    for config in ("", "--config_loss contrastive "):
        outcome = bench(config + flags, root=finished.parent)
        assert outcome.code == 2
        assert "expected the command that started it" in outcome.err
    assert bench.snapshot(finished) == before
