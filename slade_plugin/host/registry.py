"""The one list of what the plugin adds to the host, by the host's public door `runner.register`.

Classes, one by one: a registered module would expose everything it imports, and a class of ours
with a name of the host would silently take its place.
"""

import inspect
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.data.datasets import (
    Cars196Files,
    CompCars,
    CUB200Files,
    Fashion200k,
    FolderImages,
    Glyphs,
    Icons,
    InShop,
    NABirds,
)
from slade_plugin.data.split_managers import QueryGallerySplitManager, UnlabeledPoolSplitManager
from slade_plugin.host.accuracy_calculators import RecallAtKCalculator
from slade_plugin.host.api_parsers import (
    APISladePseudoLabels,
    APISladeSelfSupervised,
    APISladeStudent,
)
from slade_plugin.host.factories.slade_loss_factory import SladeLossFactory
from slade_plugin.host.factories.slade_miner_factory import SladeMinerFactory
from slade_plugin.host.factories.slade_optimizer_factory import SladeOptimizerFactory
from slade_plugin.host.factories.slade_split_manager_factory import SladeSplitManagerFactory
from slade_plugin.host.hooks.checkpointed_hook_container import CheckpointedHookContainer
from slade_plugin.host.lr_schedulers import FinalStepLR
from slade_plugin.host.testers import QueryGalleryTester, SladeTester
from slade_plugin.method.losses import FeatureBasisLoss, SmoothedCrossEntropyLoss
from slade_plugin.method.miners import BasisSimilarityMiner, PseudoLabelPairMiner
from slade_plugin.method.models import TimmTrunk, TorchvisionTrunk, conv4
from slade_plugin.method.trainers import SladeStudent

REGISTRY: tuple[tuple[str, type], ...] = (
    ("loss", FeatureBasisLoss),
    ("loss", SmoothedCrossEntropyLoss),
    ("miner", BasisSimilarityMiner),
    ("miner", PseudoLabelPairMiner),
    ("lr_scheduler", FinalStepLR),
    ("trainer", SladeStudent),
    ("api_parser", APISladeStudent),
    ("api_parser", APISladePseudoLabels),
    ("api_parser", APISladeSelfSupervised),
    ("tester", SladeTester),
    ("tester", QueryGalleryTester),
    ("accuracy_calculator", RecallAtKCalculator),
    ("split_manager", UnlabeledPoolSplitManager),
    ("split_manager", QueryGallerySplitManager),
    ("dataset", Glyphs),
    ("dataset", Icons),
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
    """Registers every entry of `REGISTRY` with a runner of the host.

    Args:
        runner: Any powerful-benchmarker runner, before its ``run()``.

    Raises:
        ConfigError: If a name is the host's already, or something of ours has been registered.
    """
    for kind, cls in REGISTRY:
        for known in getattr(runner.pytorch_getter, kind, []):
            taken = (
                hasattr(known, cls.__name__)
                if inspect.ismodule(known)
                else known.__name__ == cls.__name__
            )
            if taken:
                raise ConfigError(
                    f"the {kind} {cls.__name__} is registered already (by {known.__name__}); "
                    "expected a new name. Register the plugin once, before other plugins."
                )
    for kind, cls in REGISTRY:
        runner.register(kind, cls)
