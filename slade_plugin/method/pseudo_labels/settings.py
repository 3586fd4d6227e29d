"""The entry `pseudo_labels` of config_general."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

from slade_plugin.base.settings import Range, Settings


@dataclass(frozen=True)
class PseudoLabelSettings(Settings):
    """Clusterer of the pseudo labels, and which clusters are used."""

    place: ClassVar[str] = "config_general"
    title: ClassVar[str] = "pseudo_labels"
    hint: ClassVar[str] = (
        ", with the settings of a clusterer below its class, as in {clusterer: {KMeans: "
        "{num_clusters: 400}}}"
    )

    clusterer: Mapping[str, Any]  # {ClassName: {argument: value}} of a `Clusterer`
    min_cluster_size: Annotated[int, Range(2)] = 2  # smaller clusters are dropped
    folder: str | None = None  # of the records; filled in by the pipeline
    last_folder: str | None = None  # of the last round's records; filled in by the pipeline

    @classmethod
    def from_config(cls, entry: Mapping[str, Any]) -> Self:
        """Read the entry.

        Args:
            entry: The config entry. A second clusterer whose settings are all null is ignored: a
                data set that brings `{KMeans: {num_clusters: null}}` only sets how KMeans chooses
                k.

        Raises:
            ConfigError: Naming unknown, missing or invalid entries.
        """
        clusterer = entry.get("clusterer")
        if isinstance(clusterer, Mapping) and len(clusterer) > 1:
            chosen = {k: v for k, v in clusterer.items() if not v or not _only_null(v)}
            entry = {**entry, "clusterer": chosen or clusterer}
        return super().from_config({"clusterer": None, **entry})


def _only_null(settings: Any) -> bool:
    return isinstance(settings, Mapping) and all(value is None for value in settings.values())
