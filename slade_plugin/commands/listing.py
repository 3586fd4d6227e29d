"""List the registered classes, the configs and the studies for ``--list``, one line each."""

import inspect
from pathlib import Path

from slade_plugin.base.plugins import installed_plugins, load_plugin, plugin_names
from slade_plugin.config.composition import available_configs, config_root, read_areas
from slade_plugin.host.registry import REGISTRY


def listing(root: str | None = None, plugins: list[str] | None = None) -> str:
    """Return every class, config file and study with the first line of its description.

    Args:
        root: The config root; the shipped one by default.
        plugins: Modules with the user's own classes, in addition to the installed ones.

    Raises:
        ConfigError: If the root does not name its areas, or a plugin cannot be loaded.
    """
    folder = Path(root) if root else config_root()
    lines = ["Registered with the benchmarker:"]
    names = [*installed_plugins(), *plugin_names(plugins)]
    for kind, cls in [*REGISTRY, *(entry for name in names for entry in load_plugin(name))]:
        lines.append(f"  {kind:15} {cls.__name__:28} {_first_line(inspect.getdoc(cls) or '')}")
    lines += ["", f"Configs in {folder}:"]
    for area in read_areas(folder):
        lines += _descriptions(folder, area, "--" + area)
    if studies := _descriptions(folder, "studies", "slade-bench study"):
        lines += ["", f"Studies in {folder / 'studies'}:", *studies]
    return "\n".join(lines)


def _descriptions(root: Path, area: str, words: str) -> list[str]:
    lines = []
    for name in available_configs(root, area):
        text = (root / area / f"{name}.yaml").read_text(encoding="utf-8")
        comment = next((t for t in text.splitlines() if t.startswith("# ")), "")
        lines.append(f"  {words + ' ' + name:47} {comment.removeprefix('# ')}".rstrip())
    return lines


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
