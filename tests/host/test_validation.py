"""Everything wrong with a config is named at once, with its place and the nearest spelling."""

import copy
from types import SimpleNamespace
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.keys import HOST_KEYS, OUR_KEYS, SELF_TRAINING_KEYS
from slade_plugin.host.validation import check_args, check_command_line

AREAS = ["config_loss", "config_general"]


@pytest.fixture(scope="session")
def configs(bench: Any) -> dict[str, SimpleNamespace]:
    """The shipped configs of a baseline and of the student."""
    return {name: bench.config(f"--config_loss {name}") for name in ("contrastive", "slade")}


@pytest.fixture
def student(configs: dict[str, SimpleNamespace]) -> SimpleNamespace:
    return copy.deepcopy(configs["slade"])


@pytest.fixture
def baseline(configs: dict[str, SimpleNamespace]) -> SimpleNamespace:
    return copy.deepcopy(configs["contrastive"])


def problems(args: SimpleNamespace, getter: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        check_args(args, getter)
    text = str(caught.value)
    assert text.startswith("the config is wrong:\n  ")
    return text


def only_argument(args: SimpleNamespace, key: str) -> dict[str, Any]:
    """The arguments below the one class of an entry."""
    (arguments,) = getattr(args, key).values()
    return arguments


def test_the_shipped_configs_are_right(configs: dict[str, Any], full_getter: Any) -> None:
    for args in configs.values():
        check_args(copy.deepcopy(args), full_getter)


def test_every_key_of_the_shipped_configs_is_known(configs: dict[str, Any]) -> None:
    """And the other way round: the lists name no key that nothing reads."""
    loaded = {k for args in configs.values() for area in args.dict_of_yamls.values() for k in area}
    assert {k for k in loaded if not k.startswith("config_")} <= HOST_KEYS | OUR_KEYS
    # Of cascaded embeddings, of image files, of users' own classes and of GPUs, which none has.
    assert (HOST_KEYS | OUR_KEYS) - loaded == {
        "compute", "layers_to_extract", "leakage", "plugins"
    }  # fmt: skip


def test_the_check_leaves_the_config_as_it_is(student: Any, full_getter: Any) -> None:
    before = copy.deepcopy(student)
    check_args(student, full_getter)
    assert vars(student) == vars(before)


# ---- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "flag",
    [
        "--loss_funcs",
        "--trainer~APPLY~2",
        "--tester~SWAP~1",
        "--models~OVERRIDE~",
        "--unlabeled_dataset~DELETE~",
        "--teacher.num_epochs_train",
        "--baseline.optimizers~OVERRIDE~",
        "--every.trainer~APPLY~2",
        "--teacher.config_loss",
        "--config_general",
        "--dataset_root",
    ],
)
def test_flags_of_config_keys_pass(flag: str) -> None:
    check_command_line([flag, "value", "-3"], AREAS)


@pytest.mark.parametrize(
    ("flag", "nearest"),
    [
        ("--los_funcs", "loss_funcs"),
        ("--Trainer~APPLY~2", "trainer"),
        ("--teacher.num_epoch_train", "num_epochs_train"),
        ("--config_los", "config_loss"),
        ("--datasetroot", "dataset_root"),
    ],
)
def test_a_misspelt_flag_gets_the_nearest_key(flag: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_command_line([flag], AREAS)
    assert f"unknown flag or config key: {flag} (did you mean '{nearest}'?)" in str(caught.value)


@pytest.mark.parametrize(
    "flag", ["--trainer~APPLY~", "--trainer~APPLY~0", "--trainer~OVERRIDE~2", "--x~OVERIDE~"]
)
def test_a_misspelt_keyword_is_named(flag: str) -> None:
    """The host drops the first three with their values, silently."""
    with pytest.raises(ConfigError, match=f"{flag} has a keyword unknown to the benchmarker"):
        check_command_line([flag], AREAS)


@pytest.mark.parametrize(
    "flag", ["--brings", "--experiment_folder", "--teacher.experiment_name", "--every.dataset_root"]
)
def test_what_is_not_for_the_command_line_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown flag or config key: {flag}"):
        check_command_line([flag], AREAS)


def test_all_wrong_flags_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"config key: --a.*; unknown .*: --b"):
        check_command_line(["--a", "1", "--b"], AREAS)


# ---- values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_epochs_train", 0, "num_epochs_train is 0; expected an integer >= 1"),
        ("num_epochs_train", "ten", "num_epochs_train is 'ten'; expected an integer >= 1"),
        ("num_epochs_train", 2.5, "num_epochs_train is 2.5; expected an integer"),
        ("num_epochs_train", True, "num_epochs_train is True; expected an integer"),
        ("num_epochs_train", {"a": 0}, "num_epochs_train is {'a': 0}; expected an integer"),
        ("num_epochs_train", None, "num_epochs_train is None; expected an integer"),
        ("save_interval", 0, "save_interval is 0; expected an integer >= 1"),
        ("save_interval", 1000, "save_interval is 1000, above num_epochs_train"),
        ("patience", -1, "patience is -1; expected an integer >= 0"),
        ("seed", -1, "seed is -1; expected 0 to 4294967295"),
        ("seed", 2**32, "seed is 4294967296; expected 0 to 4294967295"),
        ("seed", "x", "seed is 'x'; expected 0"),
        ("check_untrained_accuracy", "no", "check_untrained_accuracy is 'no'; expected True"),
        ("log_data_to_tensorboard", 1, "log_data_to_tensorboard is 1; expected True or False"),
        ("splits_to_eval", "val", "splits_to_eval is 'val'; expected a list such as [val]"),
        ("splits_to_eval", [], "splits_to_eval is []; expected a list"),
        ("splits_to_eval", ["vall"], "contains 'vall' (did you mean 'val'?); expected train, val"),
        ("splits_to_eval", ["test"], "without val, which selects the best model"),
        ("dataset", "Glyphs", "dataset in config_dataset names 'Glyphs'; expected exactly one"),
        ("dataset", True, "dataset in config_dataset names True; expected exactly one class"),
        ("dataset", {}, "dataset in config_dataset names nothing; expected exactly one class"),
        ("dataset", {"Glyphs": {}, "CUB200": {}}, "names Glyphs, CUB200; expected exactly one"),
        ("dataset", {"Glyph": {}}, "no dataset named 'Glyph' (did you mean 'Glyphs'?)"),
        ("dataset", {"Glyphs": {"subst": 1}}, "no argument 'subst' (did you mean 'subset'?)"),
        ("dataset", {"Glyphs": ["x"]}, "the arguments of Glyphs are ['x'], expected a mapping"),
        ("trainer", {"MetricLossOnli": {}}, "no trainer named 'MetricLossOnli' (did you mean"),
        ("trainer", {"MetricLossOnly": {}}, "MetricLossOnly needs 'batch_size'"),
        ("tester", None, "tester in config_eval names None; expected exactly one class"),
        ("sampler", {"MPerClassSampler": {}}, "MPerClassSampler needs 'm'"),
        ("hook_container", {"HookContainr": {}}, "no hook_container named 'HookContainr'"),
        ("hook_container", "x", "hook_container in config_eval names 'x'; expected exactly one"),
        ("aggregator", {"Mean": {}}, "no aggregator named 'Mean'"),
        ("ensemble", {"Concat": {}}, "no ensemble named 'Concat'"),
        ("api_parser", {"APISlade": {}}, "no api_parser named 'APISlade' (did you mean"),
        ("api_parser", "x", "api_parser in config_general names 'x'; expected exactly one"),
        ("models", {"trunk": {"conv44": {}}}, "models.trunk: there is no model named 'conv44'"),
        ("models", {"trunk": {"a": {}, "b": {}}}, "write the key as 'trunk~OVERRIDE~'"),
        ("models", 7, "models is 7; expected keys and values"),
        ("factories", {"loss": {"LosFactory": {}}}, "no factory named 'LosFactory' (did you mean"),
        ("transforms", {"train": {"Resise": {}}}, "transforms.train: there is no transform named"),
        ("transforms", {"train": ["Resize"]}, "train is ['Resize']; expected keys and values"),
        ("transforms", "x", "transforms is 'x'; expected keys and values"),
        ("loss_funcs", "x", "loss_funcs is 'x'; expected keys and values"),
        ("mining_funcs", [1], "mining_funcs is [1]; expected keys and values"),
        ("optimizers", 1.5, "optimizers is 1.5; expected keys and values"),
    ],
)
def test_a_wrong_value_is_named(
    key: str, value: Any, message: str, baseline: Any, full_getter: Any
) -> None:
    setattr(baseline, key, value)
    assert message in problems(baseline, full_getter)


@pytest.mark.parametrize(
    ("key", "argument", "value", "least"),
    [
        ("trainer", "batch_size", 0, 1),
        ("trainer", "batch_size", "32", 1),
        ("trainer", "batch_size", None, 1),
        ("trainer", "iterations_per_epoch", 0, 1),
        ("trainer", "iterations_per_epoch", 1.5, 1),
        ("trainer", "dataloader_num_workers", -1, 0),
        ("tester", "batch_size", 0, 1),
        ("sampler", "m", 0, 1),
        ("sampler", "m", "four", 1),
        ("unlabeled_sampler", "m", 0, 1),
    ],
)
def test_a_number_out_of_range_is_named_with_its_place(
    key: str, argument: str, value: Any, least: int, student: Any, full_getter: Any
) -> None:
    only_argument(student, key)[argument] = value
    text = problems(student, full_getter)
    assert f".{argument} is {value!r}; expected an integer >= {least} (config_" in text
    assert f"{key}." in text


@pytest.mark.parametrize(("length", "refused"), [(29, True), (30, False), (31, False)])
def test_a_cosine_that_would_rise_again_is_refused(
    length: int, refused: bool, baseline: Any, full_getter: Any
) -> None:
    schedule = {"CosineAnnealingLR": {"T_max": length}}
    baseline.optimizers["trunk_optimizer"]["scheduler_by_epoch"] = schedule
    assert baseline.num_epochs_train == 30
    if refused:
        expected = "T_max of CosineAnnealingLR is 29, below num_epochs_train 30"
        assert f"optimizers.trunk_optimizer: {expected}" in problems(baseline, full_getter)
    else:
        check_args(baseline, full_getter)


def test_an_argument_beside_a_scheduler_is_explained(baseline: Any, full_getter: Any) -> None:
    """What --optimizers~APPLY~3 {lr: 0.5} makes of a config with schedulers."""
    entry = baseline.optimizers["trunk_optimizer"]
    entry["scheduler_by_epoch"] = {"FinalStepLR": {}, "lr": 0.5}
    found = problems(baseline, full_getter)
    assert "optimizers.trunk_optimizer.scheduler_by_epoch has 'lr' next to its scheduler" in found
    assert "expected it below a class, as in --optimizers~APPLY~2 {Adam: {lr: 0.5}}" in found


def test_the_hosts_own_special_values_pass(baseline: Any, full_getter: Any) -> None:
    """No patience, the data set's own length of an epoch, a number of epochs per split scheme."""
    baseline.patience = None
    only_argument(baseline, "trainer")["iterations_per_epoch"] = None
    baseline.num_epochs_train = {"Test50_50_Partitions4_0": 3}
    check_args(baseline, full_getter)


def test_evaluation_needs_no_validation_split(baseline: Any, full_getter: Any) -> None:
    baseline.evaluate, baseline.splits_to_eval = True, ["test"]
    check_args(baseline, full_getter)


def test_the_hook_containers_own_validation_split_counts(baseline: Any, full_getter: Any) -> None:
    only_argument(baseline, "hook_container")["validation_split_name"] = "train"
    assert "splits_to_eval is ['val'], without train" in problems(baseline, full_getter)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("compared_to_slef", "is 'compared_to_slef' (did you mean 'compared_to_self'?)"),
        ("compared_to_training_set", "but splits_to_eval is ['val']; expected train among them"),
    ],
)
def test_a_reference_set_the_tester_does_not_have_is_named(
    value: str, message: str, baseline: Any, full_getter: Any
) -> None:
    only_argument(baseline, "tester")["reference_set"] = value
    assert message in problems(baseline, full_getter)


def test_all_problems_are_named_at_once(baseline: Any, full_getter: Any) -> None:
    baseline.num_epochs_train, baseline.seed, baseline.dataset = 0, -1, {"Glifs": {}}
    text = problems(baseline, full_getter)
    assert len(text.splitlines()) == 4
    assert all(word in text for word in ("num_epochs_train", "seed", "Glifs"))


def test_an_unknown_key_of_a_file_is_named(baseline: Any, full_getter: Any) -> None:
    baseline.dict_of_yamls["config_general"]["num_epoch_train"] = 3
    text = problems(baseline, full_getter)
    assert "unknown config key: num_epoch_train (did you mean 'num_epochs_train'?)" in text


@pytest.mark.parametrize(
    "change",
    [
        {"loss_funcs": {"metric_loss~OVERIDE~": {"ContrastiveLoss": {}}}},
        {"optimizers": {"trunk_optimizer": {"Adam": {"lr~APPLY~1": 0.1}}}},
        {"mining_funcs": {"tuple_miner~SWAP~1": {}}},
    ],
)
def test_a_keyword_that_was_not_read_is_named(
    change: dict[str, Any], baseline: Any, full_getter: Any
) -> None:
    """The host would take `metric_loss~OVERIDE~` for the name of another loss."""
    vars(baseline).update(change)
    assert "has a keyword that the benchmarker does not read here" in problems(
        baseline, full_getter
    )


# ---- self-training ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("student_initialization", "techer", "is 'techer' (did you mean 'teacher'?); expected"),
        ("student_initialization", None, "is None; expected pretrained or teacher"),
        ("pseudo_labels", {"clustere": 3}, "no entry 'clustere' (did you mean 'clusterer'?)"),
        (
            "pseudo_labels",
            {"min_cluster_size": 3},
            "clusterer is None; expected a mapping such as {",
        ),
        ("pseudo_labels", {"clusterer": {"KMean": {}}}, "no clusterer named 'KMean' (did you mean"),
        ("pseudo_labels", {"clusterer": {"KMeans": {"num_clusters": 1}}}, "num_clusters is 1;"),
        ("pseudo_labels", {"clusterer": {"TrueLabels": {"k": 1}}}, "takes no argument 'k'"),
        ("pseudo_labels", {"clusterer": {"KMeans": {}, "HDBSCAN": {}}}, "one clusterer, got 2"),
        ("pseudo_labels", 400, "pseudo_labels is 400; expected keys and values"),
        ("pseudo_labels", {"source": "truth"}, "pseudo_labels has no entry 'source'"),
        ("leakage", {"drop_identicl": True}, "'drop_identicl' (did you mean 'drop_identical'?)"),
        ("leakage", {"near_identical_bits": -1}, "is -1; expected an integer in [0, 16]"),
        ("compute", {"precision": "half"}, "precision is 'half'; expected one of float32"),
        ("leakage", "off", "leakage is 'off'; expected keys and values"),
        ("pipeline", {"baseline": "no"}, "pipeline.baseline is 'no'; expected True or False"),
        ("pipeline", {"rounds": 0}, "pipeline.rounds is 0; expected an integer >= 1 (--rounds"),
        ("pipeline", {"rounds": "two"}, "pipeline.rounds is 'two'; expected an integer >= 1"),
        ("pipeline", {"rounds": True}, "pipeline.rounds is True; expected an integer >= 1"),
        ("pipeline", "x", "pipeline is 'x'; expected keys and values"),
        ("pipeline", {"teacher": 3}, "teacher is 3; expected keys and values"),
        ("pipeline", {"teacher": {"num_epoch": 3}}, "config key: pipeline.teacher.num_epoch"),
        (
            "pipeline",
            {"teacher": {"pseudo_labels": 3}},
            "config key: pipeline.teacher.pseudo_labels",
        ),
        ("unlabeled_dataset", {"Glyph": {}}, "no dataset named 'Glyph' (did you mean 'Glyphs'?)"),
        ("unlabeled_dataset", {"Glyphs": {"x": 1}}, "unlabeled_dataset in config_dataset: Glyphs"),
        ("unlabeled_sampler", {"MPerClass": {}}, "no sampler named 'MPerClass' (did you mean"),
    ],
)
def test_a_wrong_value_of_the_student_is_named(
    key: str, value: Any, message: str, student: Any, full_getter: Any
) -> None:
    setattr(student, key, value)
    assert message in problems(student, full_getter)


def test_settings_of_the_teacher_may_use_keywords_and_areas(student: Any, full_getter: Any) -> None:
    student.pipeline = {"teacher": {"config_loss": "triplet", "trainer~APPLY~2": {}, "seed": 3}}
    check_args(student, full_getter)


@pytest.mark.parametrize("key", [*sorted(SELF_TRAINING_KEYS), "teacher.seed", "every.trainer"])
def test_a_key_of_self_training_without_effect_is_refused(
    key: str, baseline: Any, full_getter: Any
) -> None:
    """`--config_loss contrastive --pseudo_labels {...}` would be taken silently."""
    setattr(baseline, key, {})
    text = problems(baseline, full_getter)
    assert f"{key} has no effect here; expected it only with a self-training config" in text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rounds": None}, "pipeline.rounds is None; expected an integer >= 1"),
        (3, "pipeline is 3; expected keys and values"),
    ],
)
def test_a_wrong_pipeline_of_a_plain_config_is_named(
    value: Any, message: str, baseline: Any, full_getter: Any
) -> None:
    baseline.pipeline = value
    assert message in problems(baseline, full_getter)


@pytest.mark.parametrize("name", ["num_epochs", "num_classes", "sampler"])
def test_an_argument_that_the_program_sets_is_refused(
    name: str, student: Any, full_getter: Any
) -> None:
    """The program's value would replace it without a word."""
    only_argument(student, "trainer")[name] = 3
    text = problems(student, full_getter)
    assert f"SladeStudent.{name} has no effect, since the program sets it; remove it" in text


def test_a_subclass_of_the_student_may_use_the_keys_of_self_training(
    student: Any, full_getter: Any
) -> None:
    from slade_plugin.host.api_parsers import APISladeStudent

    class APIMine(APISladeStudent):
        pass

    full_getter.register("api_parser", APIMine)
    try:
        student.api_parser = {"APIMine": {}}
        check_args(student, full_getter)
    finally:
        full_getter.unregister("api_parser", APIMine)


def test_a_null_default_of_another_clusterer_is_no_second_choice(
    student: Any, full_getter: Any
) -> None:
    """As a data set brings it: it says how KMeans chooses k, not that KMeans is used."""
    student.pseudo_labels = {"clusterer": {"TrueLabels": {}, "KMeans": {"num_clusters": None}}}
    check_args(student, full_getter)
    student.pseudo_labels["clusterer"]["KMeans"]["num_clusters"] = 3
    assert "expected exactly one clusterer, got 2" in problems(student, full_getter)
