"""Find the differences that forbid a comparison of two methods, and all others."""

from collections.abc import Mapping
from typing import Any

from slade_plugin.base.differences import differences
from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.experiments.results.found import Experiment, first_key

# Settings that change speed or the saved files, not scores.
_NO_PROTOCOL = frozenset({"batch_size", "cache", "dataloader_num_workers", "save_models"})
# Our classes that measure like the host's.
_ALIKE = {"SladeTester": "GlobalEmbeddingSpaceTester"}
_HOST_HOOKS = "HookContainer"

# Keys of a config that `protocol` reads.
_KEYS = frozenset(
    """dataset split_manager models transforms tester hook_container ensemble self_supervised
    compute""".split()
)


def protocol(experiment: Experiment) -> dict[str, Any]:
    """Return how an experiment is split, started and measured, with readable keys."""
    config = experiment.config
    models = config.get("models") or {}
    hooks = config.get("hook_container")
    selection = _settings(hooks)
    if first_key(hooks) == _HOST_HOOKS:
        selection.setdefault("untrained_model_can_be_best", True)
    return {
        "data set": _parts(config.get("dataset")),
        "splits": {
            "split_manager": _parts(experiment.split_manager),
            "split_schemes": [scheme.name for scheme in experiment.schemes],
        },
        "trunk": _parts(models.get("trunk")),
        "trunk's self-supervised start": experiment.method.get("self_supervised"),
        "embedding": _parts(models.get("embedder")),
        "transforms": config.get("transforms"),
        "compute": ComputeSettings.from_config(config.get("compute")).settings(),
        "evaluation": {
            "tester": _parts(config.get("tester")),
            "ensemble": _parts(config.get("ensemble")),
            "choice of the best epoch": selection,
        },
    }


def protocol_differences(a: Experiment, b: Experiment) -> list[tuple[str, Any, Any]]:
    """Return all differences that forbid a comparison: place, value of `a`, value of `b`."""
    found = list(differences(protocol(a), protocol(b)))
    hashes = [e.data.get("labeled") for e in (a, b)]
    if all(hashes) and hashes[0] != hashes[1]:
        a_hash, b_hash = (str(value)[:12] for value in hashes)
        found.append(("data set/hash of the images", a_hash, b_hash))
    return found


def other_differences(a: Experiment, b: Experiment) -> list[tuple[str, Any, Any]]:
    """Return all other differences: the methods themselves and their training lengths."""
    mine, theirs = (
        {key: value for key, value in e.method.items() if key not in _KEYS} for e in (a, b)
    )
    return list(differences(mine, theirs))


def _parts(config: Any) -> Any:
    """Return an entry {CLASS: {...}} without settings that do not change scores."""
    if not isinstance(config, Mapping):
        return config
    return {_ALIKE.get(k, k): _settings({k: v}) for k, v in config.items()}


def _settings(config: Any) -> dict[str, Any]:
    settings = next(iter((config or {}).values()), None) or {}
    return {k: v for k, v in settings.items() if k not in _NO_PROTOCOL}
