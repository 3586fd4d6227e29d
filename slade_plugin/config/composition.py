"""The YAML files that make up a config: names, lists and `brings`.

- A bare name means the area's default and then that file: ``--config_loss slade`` is
  ``--config_loss [default, slade]``. A list is used unchanged, as in the host.
- ``brings: {config_general: [slade]}`` in a file names the files it needs. Those of other areas
  load after the default and before the files the user names, so the user's values win. Those of
  its own area load right before it. A data set's files load after those of a method, since the
  data decide which trunk and how many workers they need.
- ``brings: {config_loss: [{slade: fine_tuning}]}`` in a data set's file adapts a method to the
  data: wherever ``slade`` is loaded, ``fine_tuning`` follows right after it.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest

BRINGS = "brings"
DATA_AREA = "config_dataset"
AREAS_FILE = "config_foldernames"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


def config_root() -> Path:
    """Find the shipped config root: beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[1]
    beside = package.parent / "bench_configs"
    return beside if (beside / f"{AREAS_FILE}.yaml").is_file() else package / "bench_configs"


def read_areas(root: Path) -> list[str]:
    """Read the areas of a config root, in the order of its ``config_foldernames.yaml``.

    Raises:
        ConfigError: If the file is missing or does not name each area and its default files.
    """
    path = root / f"{AREAS_FILE}.yaml"
    if not path.is_file():
        raise ConfigError(
            f"{root} has no {path.name}; expected a config root with that file and a folder for "
            "each area it names (--root_config_folder)."
        )
    content = _read_mapping(path)
    areas = content.get(AREAS_FILE)
    if not isinstance(areas, list) or not areas or not all(isinstance(a, str) for a in areas):
        raise ConfigError(
            f"{path}: {AREAS_FILE} is {areas!r}; expected a list of areas such as [config_loss]."
        )
    for area in areas:
        if area not in content:
            raise ConfigError(f"{path} lacks {area}; expected its files, such as [default].")
        requested_names(content[area], area)
    return areas


def available_configs(root: Path, area: str) -> list[str]:
    """List the names of an area's config files, sorted."""
    return sorted(p.stem for p in (root / area).glob("*.yaml"))


def load_config(root: Path, area: str, name: str) -> dict[str, Any]:
    """Read one config file; as in the host, an area may also be a single file without a folder.

    Raises:
        ConfigError: If the file does not exist (with the nearest name) or is not a mapping.
    """
    path = root / f"{area}.yaml"
    if not path.is_file():
        path = root / area / f"{name}.yaml"
    if not path.is_file():
        names = available_configs(root, area)
        raise ConfigError(
            f"{area} has no config {name!r} in {root / area}{nearest(str(name), names)}; it has "
            f"{', '.join(names) or 'nothing'}."
        )
    return _read_mapping(path)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}; expected YAML.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; expected keys and values.")
    return content


def requested_names(value: Any, area: str) -> list[str]:
    """Return the names that the user requested in one area as a list.

    Raises:
        ConfigError: If the value is neither a name nor a list of names.
    """
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigError(
            f"--{area} is {value!r}; expected a name or a list of names, such as default or "
            "[default, slade]."
        )
    if isinstance(value, str) and value != "default":
        return ["default", value]
    return names


def compose(
    root: Path,
    areas: Iterable[str],
    requested: Mapping[str, Any],
    brings: Mapping[str, Any] = _NOTHING,
) -> dict[str, list[str]]:
    """Determine the files to load for each area, in order.

    Args:
        root: The config root.
        areas: Areas in the order of config_foldernames.yaml.
        requested: Requested names by area; a missing area means its default.
        brings: Further files by area, as if a file other than the data set's brought them last.

    Returns:
        The file names of each area, without duplicates; later files win.

    Raises:
        ConfigError: If a file is missing or a `brings` entry is malformed.
    """
    areas = list(areas)
    brought: dict[str, list[str]] = {area: [] for area in areas}
    following = _following(root, requested, areas)

    def expand(area: str, name: str, seen: tuple[tuple[str, str], ...]) -> list[str]:
        if (area, name) in seen:
            way = " -> ".join(f"{a}/{n}" for a, n in (*seen, (area, name)))
            raise ConfigError(
                f"{area}/{name}.yaml brings itself: {way}. Remove one of these `brings`."
            )
        seen = (*seen, (area, name))
        own: list[str] = []
        found = _brings(load_config(root, area, name), f"{area}/{name}.yaml", areas)
        # First this area's own files, recursively, whatever the order of the keys.
        for other in sorted(found, key=lambda other: other != area):
            for n in found[other]:
                (own if other == area else brought[other]).extend(expand(other, n, seen))
        return [*own, name, *following.get((area, name), [])]

    def request(area: str) -> list[str]:
        names = requested_names(requested.get(area, "default"), area)
        return [n for name in names for n in expand(area, name, ())]

    explicit = {area: request(area) for area in areas if area != DATA_AREA}
    for area, names in _brings({BRINGS: brings}, "pipeline: teacher", areas).items():
        brought[area] += [n for name in names for n in expand(area, name, ())]
    explicit |= {area: request(area) for area in areas if area == DATA_AREA}
    composed = {}
    for area in areas:
        names = explicit[area]
        start = 1 if names[0] == "default" else 0
        composed[area] = list(dict.fromkeys([*names[:start], *brought[area], *names[start:]]))
    return composed


def _following(
    root: Path, requested: Mapping[str, Any], areas: list[str]
) -> dict[tuple[str, str], list[str]]:
    """Map (area, file) to the files that the data set loads right after it."""
    following: dict[tuple[str, str], list[str]] = {}
    if DATA_AREA in areas:
        for dataset in requested_names(requested.get(DATA_AREA, "default"), DATA_AREA):
            where = f"{DATA_AREA}/{dataset}.yaml"
            for area, names in _by_area(load_config(root, DATA_AREA, dataset), where, areas):
                for adapted in (n for n in names if isinstance(n, dict)):
                    for name, files in adapted.items():
                        following[area, name] = _checked(area, files, where, str)
    return following


def _brings(content: Mapping[str, Any], where: str, areas: list[str]) -> dict[str, list[str]]:
    """Map each area to the files that are loaded in any case."""
    return {
        area: [name for name in names if isinstance(name, str)]
        for area, names in _by_area(content, where, areas)
    }


def _by_area(
    content: Mapping[str, Any], where: str, areas: list[str]
) -> Iterator[tuple[str, list[Any]]]:
    brings = content.get(BRINGS) or {}
    if not isinstance(brings, dict):
        raise ConfigError(
            f"{where}: brings is {brings!r}; expected areas and their files, such as "
            "{config_optimizers: [slade]}."
        )
    for other, names in brings.items():
        if other not in areas:
            raise ConfigError(
                f"{where} brings files of {other!r}{nearest(str(other), areas)}; "
                f"the areas are {', '.join(areas)}."
            )
        adapts = where.startswith(f"{DATA_AREA}/")
        yield other, _checked(other, names, where, (str, dict) if adapts else str)


def _checked(area: str, names: Any, where: str, kinds: type | tuple[type, ...]) -> list[Any]:
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(n, kinds) for n in names):
        raise ConfigError(
            f"{where} brings {names!r} of {area}; expected the names of files, such as [slade]."
        )
    return names
