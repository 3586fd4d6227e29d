"""Which YAML files make up a config: names, lists and what a file brings along.

- A bare name means the area's default and then that file: ``--config_loss slade`` is
  ``--config_loss [default, slade]``. A list is taken as it is, as in the host.
- A file may say ``brings: {config_general: [slade]}``: files of other areas it needs. They come
  after the default and before the files the user names, so the user has the last word. Files it
  brings from its own area come right before it.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from slade_plugin.config.lookup import nearest
from slade_plugin.errors import ConfigError

BRINGS = "brings"


def available_configs(root: Path, area: str) -> list[str]:
    """Names of the config files of one area, sorted."""
    return sorted(p.stem for p in (root / area).glob("*.yaml"))


def load_config(root: Path, area: str, name: str) -> dict[str, Any]:
    """Reads one config file.

    Raises:
        ConfigError: If there is no such file (with the nearest name) or it is not a mapping.
    """
    path = root / area / f"{name}.yaml"
    if not path.is_file():
        names = available_configs(root, area)
        raise ConfigError(
            f"{area} has no config {name!r} in {root / area}{nearest(str(name), names)}; it has "
            f"{', '.join(names) or 'nothing'}."
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds {type(content).__name__}; expected keys and values.")
    return content


def requested_names(value: Any, area: str) -> list[str]:
    """What the user asked for in one area, as a list.

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


def compose(root: Path, areas: Iterable[str], requested: Mapping[str, Any]) -> dict[str, list[str]]:
    """The files to load for each area, in order.

    Args:
        root: The config root.
        areas: Areas in the order of config_foldernames.yaml.
        requested: What the user asked for by area; an area left out means its default.

    Returns:
        For each area the names of its files, each once; later files win.

    Raises:
        ConfigError: If a file is missing or a `brings` entry is malformed.
    """
    areas = list(areas)
    brought: dict[str, list[str]] = {area: [] for area in areas}

    def expand(area: str, name: str, seen: tuple[tuple[str, str], ...]) -> list[str]:
        if (area, name) in seen:
            raise ConfigError(f"{area}/{name}.yaml brings itself, by way of {seen}.")
        seen = (*seen, (area, name))
        own: list[str] = []
        for other, names in _brings(load_config(root, area, name), area, name, areas).items():
            for n in names:
                (own if other == area else brought[other]).extend(expand(other, n, seen))
        return [*own, name]

    explicit = {
        area: [
            n
            for name in requested_names(requested.get(area, "default"), area)
            for n in expand(area, name, ())
        ]
        for area in areas
    }
    composed = {}
    for area in areas:
        names = explicit[area]
        start = 1 if names[0] == "default" else 0
        composed[area] = list(dict.fromkeys([*names[:start], *brought[area], *names[start:]]))
    return composed


def _brings(
    content: Mapping[str, Any], area: str, name: str, areas: list[str]
) -> dict[str, list[str]]:
    brings = content.get(BRINGS) or {}
    if not isinstance(brings, dict):
        raise ConfigError(
            f"{area}/{name}.yaml: brings is {brings!r}; expected areas and their files, such as "
            "{config_optimizers: [slade]}."
        )
    for other in brings:
        if other not in areas:
            raise ConfigError(
                f"{area}/{name}.yaml brings files of {other!r}{nearest(str(other), areas)}; "
                f"the areas are {', '.join(areas)}."
            )
    return {k: [v] if isinstance(v, str) else list(v) for k, v in brings.items()}
