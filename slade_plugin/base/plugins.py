"""User modules that add classes: `--plugins my_module`, or an entry point.

A plugin is a module with a list ``REGISTRY`` of pairs (kind, class), such as
``[("clusterer", MyClusterer)]``. Plugins in the entry-point group ``slade_plugin.plugins`` of
installed packages are always loaded.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.files import sha256_of_file

GROUP = "slade_plugin.plugins"

loaded: dict[str, str | None] = {}
"""Plugins of this process: module to the hash of its file, for the record of a run."""


def plugin_names(given: object) -> list[str]:
    """List the modules that a command line or a config names.

    Args:
        given: None, a module, or several, as a list or separated by commas.

    Raises:
        ConfigError: If it is anything else.
    """
    words = [given] if isinstance(given, str) else given or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ConfigError(
            f"plugins is {given!r}; expected names of modules, as in --plugins my_module,another"
        )
    names = [name for word in words for name in word.strip("[]").replace(",", " ").split()]
    return list(dict.fromkeys(names))


def installed_plugins() -> list[str]:
    """List the modules that installed packages offer as entry points."""
    return sorted({point.value for point in metadata.entry_points(group=GROUP)})


def load_plugin(name: str) -> list[tuple[str, type]]:
    """Import a plugin from the current folder or from the installed packages.

    Args:
        name: Module name, as in `import name`.

    Returns:
        Its pairs of kind and class.

    Raises:
        ConfigError: If the module is missing or has no valid REGISTRY. Errors of the module itself
            pass through.
    """
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the plugin is there, but something it needs is not
        raise ConfigError(
            f"there is no plugin {name!r}: no such module in {os.getcwd()} or among the installed "
            "packages. Give --plugins the name of a module, without .py; an experiment trained "
            "with a plugin also needs it for --evaluate and --resume_training."
        ) from error
    registry: Any = getattr(module, "REGISTRY", None)
    if not isinstance(registry, Iterable) or not all(map(_is_entry, registry)):
        raise ConfigError(
            f"the plugin {name!r} has no valid REGISTRY: it is {registry!r}; expected a list of "
            'pairs (kind, class), such as [("clusterer", MyClusterer)]'
        )
    file = getattr(module, "__file__", None)
    loaded[name] = sha256_of_file(file) if file else None
    return list(registry)


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, tuple | list) or len(entry) != 2:
        return False
    return isinstance(entry[0], str) and isinstance(entry[1], type)
