"""Imports follow the table "Layers" in docs/design.md, which has no circles."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "slade_plugin"


def read_table() -> dict[str, list[str]]:
    """Each folder or top-level module of the table, with what it may import, in order."""
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    section = text.split("\n## Layers\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\|$", section, re.MULTILINE)
    return {place: re.findall(r"`([^`]+)`", allowed) for place, allowed in rows}


TABLE = read_table()
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def place_of(path: Path) -> str:
    """The row a module belongs to: its folder, or the module itself at the top level."""
    relative = path.relative_to(PACKAGE)
    return relative.name if len(relative.parts) == 1 else f"{relative.parent.as_posix()}/"


def imported_files(path: Path) -> set[Path]:
    """Files of the package that a module imports, inside functions too; the root is left out."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {file for name in names if (file := file_of(name)) is not None}
    return found


def file_of(name: str) -> Path | None:
    """The file that defines a dotted name; None if it is not the package's, or its root."""
    first, *parts = name.split(".")
    if first != PACKAGE.name:
        return None
    while parts:
        path = PACKAGE.joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
        parts.pop()
    return None


def allows(place: str, target: str) -> bool:
    return place == target or any(target.startswith(allowed) for allowed in TABLE[place])


def test_the_table_names_every_folder_and_nothing_else() -> None:
    assert {place_of(path) for path in MODULES if path.stat().st_size} == set(TABLE) | {
        f"{path.parent.relative_to(PACKAGE).as_posix()}/"
        for path in MODULES
        if path.name == "__init__.py" and len(list(path.parent.glob("*.py"))) == 1
    }


def test_the_table_has_no_circles() -> None:
    """Each row is allowed rows above it only, or folders whose every row is above."""
    above: list[str] = []
    for place, allowed in TABLE.items():
        for name in allowed:
            meant = [row for row in TABLE if row.startswith(name) and row != place]
            assert meant, f"{place} may import {name}, which is not in the table"
            late = [row for row in meant if row not in above]
            assert not late, f"{place} may import {name}, but {late} is below it"
        above.append(place)


@pytest.mark.parametrize("module", MODULES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_imports_are_allowed(module: Path) -> None:
    place = place_of(module)
    targets = {file: place_of(file) for file in imported_files(module)}
    wrong = sorted(
        f"{file.relative_to(PACKAGE)} ({target})"
        for file, target in targets.items()
        if not allows(place, target)
    )
    assert not wrong, f"docs/design.md does not allow {place} to import {', '.join(wrong)}"


def test_an_import_upwards_is_found(tmp_path: Path) -> None:
    """The walk sees imports at the top and inside functions."""
    source = "def late():\n    from slade_plugin.stages.pipeline import Pipeline\n"
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    (found,) = imported_files(path)
    assert place_of(found) == "stages/"
    assert not allows("method/losses/", "stages/")
