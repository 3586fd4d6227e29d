"""The classes that the plugin adds to the host through `runner.register`.

Classes are registered one by one: a registered module would expose everything it imports, and a
class with a host class's name would silently replace it.
"""

import inspect
from collections.abc import Iterable
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.plugins import load_plugin
from slade_plugin.base.suggestions import nearest
from slade_plugin.data.datasets import (
    Cars196Files,
    CompCars,
    CUB200Files,
    Fashion200k,
    FolderImages,
    Furniture,
    Glyphs,
    Icons,
    InShop,
    NABirds,
)
from slade_plugin.data.split_managers import QueryGallerySplitManager
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator
from slade_plugin.host.api_parsers import (
    APISladePseudoLabels,
    APISladeSelfSupervised,
    APISladeStudent,
)
from slade_plugin.host.factories import (
    SladeLossFactory,
    SladeMinerFactory,
    SladeOptimizerFactory,
    SladeSplitManagerFactory,
)
from slade_plugin.host.hooks import CheckpointedHookContainer
from slade_plugin.host.lr_schedulers import FinalStepLR
from slade_plugin.host.testers import QueryGalleryTester, SladeTester
from slade_plugin.method.clusterers import HDBSCAN, KMeans, TrueLabels, Ward
from slade_plugin.method.losses import FeatureBasisLoss, SmoothedCrossEntropyLoss
from slade_plugin.method.miners import BasisSimilarityMiner, PseudoLabelPairMiner
from slade_plugin.method.models import TimmTrunk, TorchvisionTrunk, conv4
from slade_plugin.method.pairwise_losses import GlobalCE, LocalCE, SimilarityDistribution
from slade_plugin.method.thresholds import Fixed, Quantile, RunningMean
from slade_plugin.method.trainers import SladeStudent

REGISTRY: tuple[tuple[str, type], ...] = (
    ("loss", FeatureBasisLoss),
    ("loss", SmoothedCrossEntropyLoss),
    ("miner", BasisSimilarityMiner),
    ("miner", PseudoLabelPairMiner),
    ("pairwise_loss", SimilarityDistribution),
    ("pairwise_loss", LocalCE),
    ("pairwise_loss", GlobalCE),
    ("threshold", RunningMean),
    ("threshold", Fixed),
    ("threshold", Quantile),
    ("clusterer", KMeans),
    ("clusterer", HDBSCAN),
    ("clusterer", TrueLabels),
    ("clusterer", Ward),
    ("lr_scheduler", FinalStepLR),
    ("trainer", SladeStudent),
    ("api_parser", APISladeStudent),
    ("api_parser", APISladePseudoLabels),
    ("api_parser", APISladeSelfSupervised),
    ("tester", SladeTester),
    ("tester", QueryGalleryTester),
    ("accuracy_calculator", RecallAtKCalculator),
    ("split_manager", QueryGallerySplitManager),
    ("dataset", Glyphs),
    ("dataset", Icons),
    ("dataset", Furniture),
    ("dataset", CUB200Files),
    ("dataset", NABirds),
    ("dataset", Cars196Files),
    ("dataset", CompCars),
    ("dataset", InShop),
    ("dataset", Fashion200k),
    ("dataset", FolderImages),
    ("model", conv4),
    ("model", TimmTrunk),
    ("model", TorchvisionTrunk),
    ("hook_container", CheckpointedHookContainer),
    ("factory", SladeLossFactory),
    ("factory", SladeMinerFactory),
    ("factory", SladeOptimizerFactory),
    ("factory", SladeSplitManagerFactory),
)


def register_all(runner: Any) -> None:
    """Register every entry of `REGISTRY` with a runner of the host.

    Args:
        runner: Any powerful-benchmarker runner, before its ``run()``.

    Raises:
        ConfigError: If a name is taken.
    """
    register_classes(runner, REGISTRY, "the plugin slade_plugin")


def register_classes(runner: Any, classes: Iterable[tuple[str, type]], owner: str) -> None:
    """Register classes by kind, all of them or none.

    Args:
        runner: Any powerful-benchmarker runner.
        classes: Pairs of kind and class.
        owner: Their origin, for the message.

    Raises:
        ConfigError: If a kind is unknown or a name is taken.
    """
    classes, getter = list(classes), runner.pytorch_getter
    kinds = {kind for kind, entries in vars(getter).items() if isinstance(entries, list)}
    kinds |= {kind for kind, _ in REGISTRY}
    for kind, cls in classes:
        if kind not in kinds:
            raise ConfigError(
                f"{owner} registers {cls.__name__} as {kind!r}{nearest(kind, kinds)}; expected one "
                f"of the kinds {', '.join(sorted(kinds))}"
            )
        for known in getattr(getter, kind, []):
            taken = (
                hasattr(known, cls.__name__)
                if inspect.ismodule(known)
                else known.__name__ == cls.__name__
            )
            if taken:
                raise ConfigError(
                    f"{owner}: the {kind} {cls.__name__} is already registered (by "
                    f"{known.__name__}); expected a new name, registered once."
                )
    for kind, cls in classes:
        runner.register(kind, cls)


def register_plugins(runner: Any, names: Iterable[str]) -> None:
    """Register the classes of plugins that are not registered with the runner yet.

    Args:
        runner: Any powerful-benchmarker runner.
        names: Modules with a `REGISTRY`; see `slade_plugin.base.plugins`.

    Raises:
        ConfigError: If a module is missing, has no `REGISTRY`, or one of its names is taken.
    """
    known: set[str] = vars(runner.pytorch_getter).setdefault("known_plugins", set())
    for name in names:
        if name not in known:
            register_classes(runner, load_plugin(name), f"the plugin {name!r}")
            known.add(name)
