"""What the plugin expects of the host, and that what is measured is the host's own code."""

import inspect
import io
import logging
import sys
from contextlib import redirect_stderr
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.testers
import pytorch_metric_learning.utils.accuracy_calculator
import pytorch_metric_learning.utils.common_functions as pml_cf
from powerful_benchmarker import aggregators, ensembles, split_managers
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.runners.single_experiment_runner import SingleExperimentRunner
from powerful_benchmarker.utils import constants
from pytorch_metric_learning.trainers import BaseTrainer, MetricLossOnly
from pytorch_metric_learning.utils.logging_presets import HookContainer

import slade_plugin
from slade_plugin.base.errors import SladeError
from slade_plugin.config.composition import compose, config_root, read_areas
from slade_plugin.config.lookup import find_class
from slade_plugin.data.split_managers.unlabeled_pool_split_manager import UnlabeledPoolSplitManager
from slade_plugin.host.api_parsers import APISladePseudoLabels, APISladeStudent
from slade_plugin.host.api_parsers.seeded import seeded
from slade_plugin.host.hooks.checkpointed_hook_container import CheckpointedHookContainer
from slade_plugin.host.testers import QueryGalleryTester, SladeTester
from slade_plugin.method.trainers import SladeStudent
from slade_plugin.runner import SladeRunner

pytestmark = pytest.mark.host

GlobalTester = pytorch_metric_learning.testers.GlobalEmbeddingSpaceTester


def test_the_pinned_host_is_installed() -> None:
    versions = {
        "powerful-benchmarker": "0.9.33",
        "pytorch-metric-learning": "0.9.92",
        "record-keeper": "0.9.29",
        "easy-module-attribute-getter": "0.9.41",
    }
    assert {name: metadata.version(name) for name in versions} == versions


# ---- whose code decides -------------------------------------------------------------------------


def overridden(cls: type, host: type) -> set[str]:
    """Methods of the host's class that ours replaces."""
    return {
        name
        for name, function in inspect.getmembers(host, inspect.isfunction)
        if inspect.getattr_static(cls, name) is not function
    }


def test_selection_of_the_best_model_is_the_hosts() -> None:
    """Ours only says which epochs take part, saves, and loads."""
    assert overridden(CheckpointedHookContainer, HookContainer) == {
        "__init__",
        "end_of_epoch_hook",
        "end_of_iteration_hook",
        "get_best_epoch_and_accuracy",
        "load_latest_saved_models",
        "save_models",
    }
    for name in (
        "is_new_best_accuracy",
        "save_models_and_eval",
        "get_accuracies_of_best_epoch",
        "get_accuracies_of_epoch",
        "get_curr_primary_metric",
        "patience_remaining",
        "end_of_testing_hook",
        "run_tester_separately",
        "get_splits_to_eval",
    ):
        assert getattr(CheckpointedHookContainer, name) is getattr(HookContainer, name)


def test_evaluation_is_the_hosts() -> None:
    assert overridden(SladeTester, GlobalTester) == {"description_suffixes"}
    for name in ("test", "do_knn_and_accuracies", "get_all_embeddings", "get_embeddings_for_eval"):
        assert getattr(SladeTester, name) is getattr(GlobalTester, name)
    assert overridden(QueryGalleryTester, SladeTester) == {
        "__init__",
        "description_suffixes",
        "embeddings_come_from_same_source",
        "set_reference_and_query",
        "test",
    }


def test_the_run_is_the_hosts() -> None:
    """Stages, split schemes, training, evaluation, ensembles: none of it is ours."""
    assert overridden(APISladeStudent, BaseAPIParser) == {
        "default_kwargs_optimizers",
        "default_kwargs_split_manager",
        "default_kwargs_trainer",
        "list_of_old_objects_to_delete",
        "required_compatible_factories",
        "set_models_optimizers_losses",
    }
    assert overridden(seeded(BaseAPIParser), BaseAPIParser) == {
        "__init__",
        "default_kwargs_optimizers",
        "get_record_keeper",
        "get_split_manager",
        "get_trainer",
        "run_for_each_split_scheme",
        "set_factories",
        "set_models_optimizers_losses",
        "should_train",
    }
    for name in (
        "train",
        "eval",
        "eval_model",
        "eval_ensemble",
        "save_config_files",
    ):
        for cls in (seeded(APISladeStudent), seeded(BaseAPIParser)):
            assert getattr(cls, name) is getattr(BaseAPIParser, name)
    assert APISladePseudoLabels.eval_model is BaseAPIParser.eval_model


def test_the_step_of_a_student_is_the_hosts_but_for_its_loss() -> None:
    for name in ("train", "backward", "step_optimizers", "zero_grad", "clip_gradients",
                 "step_lr_schedulers", "compute_embeddings", "set_to_train"):  # fmt: skip
        assert getattr(SladeStudent, name) is getattr(MetricLossOnly, name)
    assert issubclass(SladeStudent, BaseTrainer)


def test_the_runner_replaces_only_what_comes_before_a_run() -> None:
    assert overridden(SladeRunner, SingleExperimentRunner) == {
        "__init__",
        "get_api_parser",
        "init_pytorch_getter",
        "reproduce_results",
        "run",
        "run_new_experiment_or_resume",
        "setup_argparser",
        "setup_yaml_reader",
        "start_experiment",
    }


@pytest.mark.parametrize("config", ["contrastive", "slade"])
def test_splits_metrics_and_summary_of_the_shipped_configs_are_the_hosts(
    config: str, bench: Any, full_getter: Any
) -> None:
    args = bench.config(f"--config_loss {config}")
    (split_manager,), (aggregator,), (ensemble,) = (
        getattr(args, key) for key in ("split_manager", "aggregator", "ensemble")
    )
    found = find_class(full_getter, "split_manager", split_manager)
    assert found is split_managers.ClassDisjointSplitManager
    assert find_class(full_getter, "aggregator", aggregator) is aggregators.MeanAggregator
    assert find_class(full_getter, "ensemble", ensemble) is ensembles.ConcatenateEmbeddings
    (tester,) = args.tester.values()
    (calculator,) = tester["accuracy_calculator"]
    assert find_class(full_getter, "accuracy_calculator", calculator) is (
        pytorch_metric_learning.utils.accuracy_calculator.AccuracyCalculator
    )


def test_a_students_splits_are_its_baselines_to_the_image(
    make_parser: Any, experiment_args: Any, tmp_path: Path
) -> None:
    """The pool stands beside; the very objects of the host's split manager are used."""
    splits = {}
    for student in (False, True):
        args = experiment_args(tmp_path / str(student), student=student)
        parser = make_parser(args, APISladeStudent if student else BaseAPIParser)
        parser.transforms = parser.get_transforms()
        manager = parser.get_split_manager()
        splits[student] = {
            (scheme, split): list(dataset.indices)
            for scheme, kinds in manager.split_scheme_holder.split_schemes.items()
            for split, dataset in kinds["eval"].items()
        }
    assert splits[True] == splits[False]
    assert len(splits[True]) == 2 * 3
    assert isinstance(manager, UnlabeledPoolSplitManager)
    assert manager.split_scheme_holder is manager.helper_split_manager.split_scheme_holder


def test_student_and_baseline_are_recorded_in_one_table(bench: Any, finished: Path) -> None:
    """Same names of tables, so that one query reads both."""
    tables = {
        stage: {t for t in bench.records(finished / stage) if "accuracies" in t}
        for stage in ("teacher", "student", "baseline")
    }
    assert tables["teacher"] == tables["student"] == tables["baseline"]
    assert any(t.endswith("_VAL") for t in tables["student"])
    assert any(t.endswith("_TEST") for t in tables["student"])


# ---- what the host does and the plugin lives with -----------------------------------------------


def test_the_host_swallows_what_our_errors_are_not() -> None:
    """ValueError and AttributeError lose their text in the host; see errors.py."""
    errors = [SladeError, *SladeError.__subclasses__()]
    assert len(errors) >= 6
    assert not [e for e in errors if issubclass(e, ValueError | AttributeError)]


def test_the_host_reports_nan_as_an_accuracy_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Why our API parsers turn a ValueError into an error of their own."""
    parser = SimpleNamespace(
        args=SimpleNamespace(evaluate_ensemble=False),
        split_manager=SimpleNamespace(num_split_schemes=2),
        get_meta_record_keeper=lambda: None,
        get_aggregator=lambda: None,
        delete_old_objects=lambda: None,
    )

    def fail(text: str) -> None:
        raise ValueError(text)

    monkeypatch.setattr(logging, "error", lambda text: None)
    parser.run_for_each_split_scheme = lambda: fail("Input contains NaN.")
    assert BaseAPIParser.run_train_or_eval(parser) == (0, 0)
    parser.run_for_each_split_scheme = lambda: fail("the text")
    with pytest.raises(ValueError, match=r"^$"):
        BaseAPIParser.run_train_or_eval(parser)


def test_the_host_draws_from_a_generator_of_its_own(experiment_args: Any, tmp_path: Path) -> None:
    """Seeding numpy does not reach it, and an API parser replaces it."""
    from slade_plugin.runner import SladeRunner

    before = pml_cf.NUMPY_RANDOM
    args = experiment_args(tmp_path, student=False)
    BaseAPIParser(args=args, pytorch_getter=SladeRunner().pytorch_getter)
    assert pml_cf.NUMPY_RANDOM is not before
    draws = []
    for _ in range(2):
        np.random.seed(0)  # noqa: NPY002 - the one that does not reach it
        draws.append(pml_cf.NUMPY_RANDOM.rand())
    assert draws[0] != draws[1]


def test_names_of_the_untrained_epochs() -> None:
    from slade_plugin.host.hooks import checkpointed_hook_container as ours

    assert constants.UNTRAINED_TRUNK_INT == ours.UNTRAINED_TRUNK_EPOCH
    assert constants.UNTRAINED_TRUNK_AND_EMBEDDER_INT == ours.UNTRAINED_EPOCH
    assert set(constants.IGNORE_ALL_UNTRAINED) == {-1, 0}


# ---- the plugin in the host's own runner --------------------------------------------------------


@pytest.fixture(scope="module")
def student_of_the_host(
    bench: Any, finished: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[SingleExperimentRunner, Path]:
    """A student trained by `SingleExperimentRunner` after `slade_plugin.register(runner)`."""
    root = tmp_path_factory.mktemp("host")
    areas = read_areas(config_root())
    composed = compose(config_root(), areas, {"config_loss": "slade"})
    flags = " ".join(f"--{area} [{', '.join(names)}]" for area, names in composed.items())
    tiny = bench.tiny(2, 1, 2).replace(
        "batch_size: 16", "batch_size: 16, unlabeled_batch_size: 16, basis_warmup_iterations: 0"
    )
    student = (
        "--unlabeled_dataset {Glyphs: {letters_per_script: 8, instances_per_face: 1}} "
        "--unlabeled_sampler~APPLY~2 {length_before_new_iter: 64} "
        "--loss_funcs {basis_loss: {FeatureBasisLoss: {embedding_size: 16}}} "
        f"--pseudo_labels {{folder: {finished / 'pseudo_labels'}}} "
        f"--student_initialization teacher --teacher_experiment {finished / 'teacher'}"
    )
    runner = SingleExperimentRunner(
        dataset_root=str(bench.dataset_root),
        root_experiment_folder=str(root),
        root_config_folder=str(config_root()),
    )
    slade_plugin.register(runner)
    command = f"{flags} {tiny} {student} --experiment_name student"
    for words in (command, "--experiment_name student --evaluate --splits_to_eval [test]"):
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()):
            patch.setattr(sys, "argv", ["run.py", *words.split()])
            runner.run()
    return runner, root / "student"


def test_the_hosts_runner_trains_a_student(
    bench: Any, student_of_the_host: tuple[SingleExperimentRunner, Path]
) -> None:
    _, folder = student_of_the_host
    records = bench.records(folder)
    for scheme in ("Test50_50_Partitions2_0", "Test50_50_Partitions2_1"):
        rows = records[f"{scheme}/saved_csvs/logs.db: loss_histories"]
        assert len(rows) == 2
        assert {"metric_loss", "unlabeled_metric_loss", "basis_loss"} <= rows[0].keys()
        assert (folder / scheme / "saved_models" / "basis_loss_1.pth").is_file()
    tested = [t for t in records if t.endswith("_TEST")]
    assert len(tested) == 3


def test_the_hosts_runner_returns_mean_and_error(
    bench: Any, student_of_the_host: tuple[SingleExperimentRunner, Path]
) -> None:
    """As for any experiment of the host, from the meta logs."""
    _, folder = student_of_the_host
    (row,) = next(
        rows
        for table, rows in bench.records(folder).items()
        if table.startswith("meta_logs") and table.endswith("_VAL")
    )
    schemes = [
        rows[-1]["best_accuracy"]
        for table, rows in bench.records(folder).items()
        if table.endswith("_VAL") and not table.startswith("meta_logs")
    ]
    assert row["mean_average_precision_at_r_level0"] == pytest.approx(np.mean(schemes))
