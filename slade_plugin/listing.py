"""What ``--list`` prints: registered classes and configs, one line each."""

import inspect
from pathlib import Path

import yaml

from slade_plugin.register import REGISTRY
from slade_plugin.runner import config_root


def listing(root: str | None = None) -> str:
    """Every registered class and every config file with the first line of its description."""
    folder = Path(root) if root else config_root()
    lines = ["Registered with the benchmarker:"]
    for kind, cls in REGISTRY:
        lines.append(f"  {kind:15} {cls.__name__:28} {_first_line(inspect.getdoc(cls) or '')}")
    lines += ["", f"Configs in {folder}:"]
    areas = yaml.safe_load((folder / "config_foldernames.yaml").read_text())["config_foldernames"]
    for area in areas:
        for path in sorted((folder / area).glob("*.yaml")):
            comment = next(
                (t for t in path.read_text().splitlines() if t.startswith("# ")), "# "
            ).removeprefix("# ")
            lines.append(f"  --{area + ' ' + path.stem:45} {comment}")
    return "\n".join(lines)


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else ""
