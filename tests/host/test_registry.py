"""What the plugin adds to the host, by the host's own `register` and nothing else."""

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_metric_learning.losses
import pytorch_metric_learning.miners
import pytorch_metric_learning.testers
import pytorch_metric_learning.trainers
import torch
from easy_module_attribute_getter import PytorchGetter
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.factories.base_factory import BaseFactory
from powerful_benchmarker.runners.single_experiment_runner import SingleExperimentRunner
from powerful_benchmarker.split_managers import BaseSplitManager
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.logging_presets import HookContainer

import slade_plugin
from slade_plugin.base import plugins
from slade_plugin.base.errors import ConfigError, ShapeError
from slade_plugin.config.lookup import find_class
from slade_plugin.host.registry import (
    REGISTRY,
    register_all,
    register_classes,
    register_plugins,
)
from slade_plugin.method.clusterers import Clusterer
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.pairwise_losses import PairwiseLoss
from slade_plugin.method.thresholds import Threshold
from slade_plugin.runner import SladeRunner

# The host's base class of each kind, torch's where the host has none, or ours of our own kinds.
BASES: dict[str, type] = {
    "loss": pytorch_metric_learning.losses.BaseMetricLossFunction,
    "miner": pytorch_metric_learning.miners.BaseTupleMiner,
    "lr_scheduler": torch.optim.lr_scheduler.LRScheduler,
    "trainer": pytorch_metric_learning.trainers.BaseTrainer,
    "tester": pytorch_metric_learning.testers.BaseTester,
    "accuracy_calculator": AccuracyCalculator,
    "api_parser": BaseAPIParser,
    "split_manager": BaseSplitManager,
    "hook_container": HookContainer,
    "factory": BaseFactory,
    "dataset": torch.utils.data.Dataset,
    "model": torch.nn.Module,
    "pairwise_loss": PairwiseLoss,
    "threshold": Threshold,
    "clusterer": Clusterer,
}
IDS = [cls.__name__ for _, cls in REGISTRY]


@pytest.fixture(scope="module")
def host() -> SingleExperimentRunner:
    """The host's own runner with the plugin registered."""
    runner = SingleExperimentRunner()
    slade_plugin.register(runner)
    return runner


@pytest.mark.parametrize(("kind", "cls"), REGISTRY, ids=IDS)
def test_the_host_finds_the_class_by_its_name(kind: str, cls: type, host: Any) -> None:
    found, _ = host.pytorch_getter.get(
        kind, yaml_dict={cls.__name__: {}}, return_uninitialized=True
    )
    assert found is cls
    assert find_class(host.pytorch_getter, kind, cls.__name__) is cls


@pytest.mark.parametrize(("kind", "cls"), REGISTRY, ids=IDS)
def test_the_class_is_built_on_the_hosts_base(kind: str, cls: type) -> None:
    assert issubclass(cls, BASES[kind])
    assert cls is not BASES[kind]


def test_every_public_class_of_the_plugin_packages_is_registered() -> None:
    """A class that is written and never registered could not be named in a config."""
    packages = {
        "method.losses": "loss", "method.miners": "miner", "method.trainers": "trainer",
        "method.models": "model", "data.split_managers": "split_manager",
        "host.testers": "tester", "host.api_parsers": "api_parser",
        "host.accuracy_calculators": "accuracy_calculator",
        "method.pairwise_losses": "pairwise_loss", "method.thresholds": "threshold",
        "method.clusterers": "clusterer",
    }  # fmt: skip
    for package, kind in packages.items():
        module = importlib.import_module(f"slade_plugin.{package}")
        classes = [getattr(module, name) for name in module.__all__]
        concrete = [c for c in classes if not inspect.isabstract(c)]
        public = {c.__name__ for c in concrete if issubclass(c, BASES[kind])}
        assert public == {cls.__name__ for k, cls in REGISTRY if k == kind}, package


def test_classes_are_registered_one_by_one(host: Any) -> None:
    """A registered module would expose what it imports: `os` could be a loss."""
    for kind, cls in REGISTRY:
        entries = getattr(host.pytorch_getter, kind)
        assert cls in entries
        assert not [e for e in entries if getattr(e, "__name__", "").startswith("slade_plugin")]


def test_the_hosts_own_classes_stay_what_they_are(host: Any) -> None:
    plain = SingleExperimentRunner()
    for kind, name in (
        ("loss", "ContrastiveLoss"),
        ("trainer", "MetricLossOnly"),
        ("tester", "GlobalEmbeddingSpaceTester"),
        ("hook_container", "HookContainer"),
        ("factory", "LossFactory"),
    ):
        found = find_class(host.pytorch_getter, kind, name)
        assert found is find_class(plain.pytorch_getter, kind, name)
        assert found.__module__.startswith(("powerful_benchmarker.", "pytorch_metric_learning."))


def test_our_runner_registers_everything_itself() -> None:
    getter = SladeRunner().pytorch_getter
    assert all(find_class(getter, kind, cls.__name__) is cls for kind, cls in REGISTRY)


def test_registering_twice_is_refused(host: Any) -> None:
    before = {kind: list(getattr(host.pytorch_getter, kind)) for kind, _ in REGISTRY}
    with pytest.raises(ConfigError, match="FeatureBasisLoss is already registered"):
        register_all(host)
    assert before == {kind: getattr(host.pytorch_getter, kind) for kind, _ in REGISTRY}


@pytest.mark.parametrize(
    ("kind", "name", "owner"),
    [
        ("loss", "ContrastiveLoss", "pytorch_metric_learning.losses"),
        ("hook_container", "HookContainer", "HookContainer"),
        ("model", "resnet18", "torchvision.models"),
    ],
)
def test_a_name_of_the_host_is_refused(
    kind: str, name: str, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host would let the later class win without a word."""
    ours = type(name, (), {})
    monkeypatch.setattr("slade_plugin.host.registry.REGISTRY", ((kind, ours),))
    runner = SingleExperimentRunner()
    with pytest.raises(ConfigError, match=f"the {kind} {name} is already registered .by {owner}"):
        register_all(runner)
    assert ours not in getattr(runner.pytorch_getter, kind)


def test_a_new_kind_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host makes the list of a kind it did not have."""
    ours = type("Ours", (), {})
    monkeypatch.setattr("slade_plugin.host.registry.REGISTRY", (("a_new_kind", ours),))
    runner = SingleExperimentRunner()
    register_all(runner)
    assert runner.pytorch_getter.a_new_kind == [ours]


def test_a_constructor_error_surfaces_with_its_own_text(host: Any) -> None:
    """Through the host's getter, which turns an AttributeError into one without text."""
    with pytest.raises((ConfigError, ShapeError), match="embedding_size is 0; expected"):
        host.pytorch_getter.get(
            "loss", yaml_dict={"FeatureBasisLoss": {"embedding_size": 0, "num_classes": 4}}
        )


def test_the_host_loses_the_text_of_an_attribute_error() -> None:
    """Why no constructor of ours may raise one."""

    class Loss:
        def __init__(self) -> None:
            raise AttributeError("the text")

    getter = PytorchGetter()
    getter.register("loss", Loss)
    with pytest.raises(AttributeError) as caught:
        getter.get("loss", yaml_dict={"Loss": {}})
    assert str(caught.value) == ""


def test_the_package_registers_with_one_call() -> None:
    """Twice: no module of the package may take the function's name once it is imported."""
    for _ in range(2):
        runner = SingleExperimentRunner()
        slade_plugin.register(runner)
        assert FeatureBasisLoss in runner.pytorch_getter.loss


# ---- plugins ------------------------------------------------------------------------------------

PLUGIN = """
from slade_plugin.method.thresholds import Threshold

class Half(Threshold):
    def __call__(self, *given):
        return 0.5

REGISTRY = [("threshold", Half)]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = "plugin_of_test_registry"
    (tmp_path / f"{name}.py").write_text(PLUGIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(plugins, "loaded", {})
    return name


def test_a_plugin_is_registered_once_in_a_runner(plugin: str) -> None:
    runner = SladeRunner()
    for _ in range(2):
        register_plugins(runner, [plugin])
    found = [cls.__name__ for cls in runner.pytorch_getter.threshold]
    assert found.count("Half") == 1
    assert find_class(SladeRunner().pytorch_getter, "threshold", "Fixed")
    with pytest.raises(ConfigError, match="no threshold named 'Half'"):
        find_class(SladeRunner().pytorch_getter, "threshold", "Half")


def test_installed_plugins_are_in_every_runner(
    plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("slade_plugin.runner.installed_plugins", lambda: [plugin])
    assert find_class(SladeRunner().pytorch_getter, "threshold", "Half")


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("threshold", "Fixed", "the threshold Fixed is already registered .by Fixed"),
        ("loss", "ContrastiveLoss", "the loss ContrastiveLoss is already registered"),
        ("losses", "Mine", "as 'losses' .did you mean 'loss'"),
    ],
)
def test_what_a_plugin_may_not_register(kind: str, name: str, message: str) -> None:
    runner, other = SladeRunner(), type("Other", (), {})
    with pytest.raises(ConfigError, match=f"the plugin 'mine'.*{message}"):
        register_classes(
            runner, [("model", other), (kind, type(name, (), {}))], "the plugin 'mine'"
        )
    assert other not in runner.pytorch_getter.model  # all or none
