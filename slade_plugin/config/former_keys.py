"""Translate config entries of earlier versions, with a warning.

They occur on command lines and in saved experiments, which can still be resumed, evaluated and
compared. Each function returns an entry in the current spelling, or unchanged if there is nothing
to translate; entries that cannot be translated are left to the checks.
"""

from collections.abc import Callable, Mapping
from typing import Any

from slade_plugin.base.warning import warn_once

_PAIRWISE_LOSSES = {
    "similarity_distribution": "SimilarityDistribution",
    "local_ce": "LocalCE",
    "global_ce": "GlobalCE",
}
# Former argument of FeatureBasisLoss -> class -> argument; the other classes did not use it.
_PAIRWISE_ARGUMENTS = {
    "margin": {"SimilarityDistribution": "margin"},
    "variance_weight": {"SimilarityDistribution": "variance_weight"},
    "pairwise_scale": {"LocalCE": "scale", "GlobalCE": "scale"},
}
_K_MEANS = ("num_clusters", "num_iterations", "num_restarts", "seed")


def translate(config: dict[str, Any]) -> None:
    """Translate the entries of a config in place, with one warning per former spelling.

    Args:
        config: A merged config, or one area of it; nested entries are replaced, never modified.
    """
    for key, translated in _ENTRIES.items():
        old = config.get(key)
        if isinstance(old, Mapping):
            new = translated(old)
            if new != old:
                before, now = _difference(old, new)
                warn_once(
                    f"{key} uses a former spelling: {before}; read as {now}. Use the new one in "
                    "your configs and commands; saved experiments need no change."
                )
                config[key] = new


def _loss_funcs(losses: Mapping[str, Any]) -> dict[str, Any]:
    return _of_class(losses, "FeatureBasisLoss", _feature_basis_loss)


def _feature_basis_loss(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    choice = arguments.get("pairwise_loss", "similarity_distribution")
    former = [name for name in _PAIRWISE_ARGUMENTS if name in arguments]
    as_word = isinstance(choice, str) and choice in _PAIRWISE_LOSSES
    if isinstance(choice, str) and not as_word:
        return arguments
    spec = {_PAIRWISE_LOSSES[choice]: {}} if as_word else dict(choice or {})
    if len(spec) != 1 or not (former or "pairwise_loss" in arguments):
        return arguments
    ((name, settings),) = spec.items()
    settings = dict(settings or {})
    rest = dict(arguments)
    for argument in former:
        todays = _PAIRWISE_ARGUMENTS[argument].get(name)
        if todays is not None:
            settings[todays] = rest.pop(argument)
        elif as_word:
            del rest[argument]  # it had no effect
    return {**rest, "pairwise_loss": {name: settings}}


def _mining_funcs(miners: Mapping[str, Any]) -> dict[str, Any]:
    return _of_class(miners, "BasisSimilarityMiner", _basis_similarity_miner)


def _basis_similarity_miner(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    sides = {"positive_threshold", "negative_threshold"} & arguments.keys()
    return {**arguments, **{side: _threshold(arguments[side]) for side in sides}}


def _threshold(value: Any) -> Any:
    if value == "running_mean":
        return {"RunningMean": {}}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return {"Fixed": {"value": value}}
    if isinstance(value, Mapping) and "quantile" in value:
        return {"Quantile": {"q": value["quantile"]}}
    return value


def _pseudo_labels(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    former = {name: entry[name] for name in _K_MEANS if name in entry}
    source = entry.get("source", "clusters")
    if not (former or "source" in entry) or source not in ("clusters", "true_labels"):
        return entry
    rest = {k: v for k, v in entry.items() if k != "source" and k not in former}
    if source == "true_labels":
        return {**rest, "clusterer": {"TrueLabels": {}}}
    spec = rest.get("clusterer") or {"KMeans": {}}
    if isinstance(spec, Mapping) and "TrueLabels" in spec:
        return rest  # k had no effect
    if not isinstance(spec, Mapping) or list(spec) != ["KMeans"]:
        return entry
    return {**rest, "clusterer": {"KMeans": {**(spec["KMeans"] or {}), **former}}}


_ENTRIES: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
    "loss_funcs": _loss_funcs,
    "mining_funcs": _mining_funcs,
    "pseudo_labels": _pseudo_labels,
}


def _of_class(
    parts: Mapping[str, Any],
    name: str,
    translated: Callable[[Mapping[str, Any]], Mapping[str, Any]],
) -> dict[str, Any]:
    """Translate the arguments of one class among named parts."""
    return {
        key: {**part, name: translated(part[name])}
        if isinstance(part, Mapping) and isinstance(part.get(name), Mapping)
        else part
        for key, part in parts.items()
    }


def _difference(old: Any, new: Any) -> tuple[Any, Any]:
    """Return the differing parts of two entries, at the lowest level with one difference."""
    while isinstance(old, Mapping) and isinstance(new, Mapping):
        different = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        if len(different) != 1 or not {different[0]} <= old.keys() & new.keys():
            before, now = ({k: d[k] for k in different if k in d} for d in (old, new))
            return before, now
        old, new = old[different[0]], new[different[0]]
    return old, new
