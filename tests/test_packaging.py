"""What a user installs: version, command, dependencies, the configs inside the wheel, papers."""

import ast
import importlib
import importlib.metadata
import re
import runpy
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cffconvert
import pytest
import setuptools
import yaml

import slade_plugin

ROOT = Path(__file__).resolve().parent.parent
CONFIG_ROOT = ROOT / "bench_configs"
CONFIG_PACKAGE = "slade_plugin.bench_configs"


@pytest.fixture
def setup_arguments(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py passes to setuptools, without building anything."""
    passed: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: passed.update(arguments))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return passed


def requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None
    return match.group().lower()


def test_version_is_one(setup_arguments: dict[str, Any]) -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert setup_arguments["version"] == slade_plugin.__version__
    assert citation["version"] == slade_plugin.__version__


def test_console_script_exists(setup_arguments: dict[str, Any]) -> None:
    (script,) = setup_arguments["entry_points"]["console_scripts"]
    assert script == "slade-bench = slade_plugin.cli:main"
    module, function = script.split(" = ")[1].split(":")
    assert callable(getattr(importlib.import_module(module), function))


def test_every_config_is_packaged(setup_arguments: dict[str, Any]) -> None:
    assert setup_arguments["package_dir"][CONFIG_PACKAGE] == "bench_configs"
    assert CONFIG_PACKAGE in setup_arguments["packages"]
    globs = setup_arguments["package_data"][CONFIG_PACKAGE]
    declared = {path for pattern in globs for path in CONFIG_ROOT.glob(pattern)}
    files = {path for path in CONFIG_ROOT.rglob("*") if path.is_file()}
    assert CONFIG_ROOT / "config_foldernames.yaml" in files
    assert files == declared, "a file under bench_configs/ would be missing from the wheel"


def test_every_module_is_packaged(setup_arguments: dict[str, Any]) -> None:
    """A folder without __init__.py imports from a checkout, but is missing from the wheel."""
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "slade_plugin").rglob("*.py")}
    packages = {".".join(folder.parts) for folder in folders}
    assert packages == set(setup_arguments["packages"]) - {CONFIG_PACKAGE}


def test_every_import_is_a_declared_dependency(setup_arguments: dict[str, Any]) -> None:
    imported = set()
    for path in [*(ROOT / "slade_plugin").rglob("*.py"), ROOT / "run.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.split(".")[0])
    third_party = imported - set(sys.stdlib_module_names) - {"slade_plugin"}
    assert {"torch", "powerful_benchmarker"} <= third_party
    providers = importlib.metadata.packages_distributions()
    declared = {requirement_name(r) for r in setup_arguments["install_requires"]}
    undeclared = {
        module
        for module in third_party
        if not declared & {name.lower() for name in providers.get(module, [])}
    }
    assert undeclared == OPTIONAL_IMPORTS & third_party


# Imported only where a user's own choice has brought them along.
OPTIONAL_IMPORTS = {"ax", "lightly", "moderngl", "onnxruntime", "onnxscript", "plotly", "ray"}
OPTIONAL_IMPORTS |= {"resvg_py", "safetensors", "timm", "umap"}


def test_host_pins_are_the_host_s_own(setup_arguments: dict[str, Any]) -> None:
    """The pins named a second time in setup.py equal those of the host's metadata."""
    ours = {r for r in setup_arguments["install_requires"] if "==" in r}
    host = importlib.metadata.requires("powerful-benchmarker") or []
    pinned = {re.sub(r"[ ()]", "", r).lower() for r in host if "==" in r}
    assert len(pinned) == 3
    assert ours == pinned | {"powerful-benchmarker==0.9.33"}


def test_pre_commit_has_the_same_versions(setup_arguments: dict[str, Any]) -> None:
    tools = setup_arguments["extras_require"]["test"]
    pinned = dict(r.split("==") for r in tools if "==" in r)
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    used = dict(r.split("==") for hook in hooks for r in hook.get("additional_dependencies", []))
    used.pop("pre-commit-hooks")  # only pre-commit uses it
    assert set(used) == {"ruff", "codespell", "cffconvert"}
    assert used == {name: pinned[name] for name in used}
    assert "mypy" in pinned  # its hook runs the project's own


def test_citation_is_valid() -> None:
    citation = cffconvert.Citation((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    citation.validate()
    titles = [reference["title"] for reference in citation.cffobj["references"]]
    assert titles == [
        "SLADE: A Self-Training Framework for Distance Metric Learning",
        "A Metric Learning Reality Check",
    ]


def test_ci_runs_the_readme_s_test_command() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    last_line = (ROOT / ".ci" / "run").read_text(encoding="utf-8").strip().splitlines()[-1]
    assert last_line == "make test"
    assert re.search(r"^make test$", readme, re.MULTILINE)


def test_unreleased_changes_are_listed() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased = changelog.split("## [Unreleased]")[1].split("\n## ")[0]
    assert "### Added" in unreleased
    assert "### Results changed" in unreleased


@pytest.mark.slow
def test_wheel_holds_every_config_and_module(tmp_path: Path) -> None:
    """Builds in a copy, without isolation, so it needs no network."""
    source = tmp_path / "source"
    source.mkdir()
    for folder in ("slade_plugin", "bench_configs"):
        shutil.copytree(
            ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "THIRD_PARTY.md"):
        shutil.copy(ROOT / name, source / name)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "."]
    result = subprocess.run(
        build, cwd=source, capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (wheel,) = source.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    configs = {
        f"slade_plugin/bench_configs/{path.relative_to(CONFIG_ROOT).as_posix()}"
        for path in CONFIG_ROOT.rglob("*.yaml")
    }
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "slade_plugin").rglob("*.py")}
    assert configs <= names
    assert modules <= names
    assert "slade_plugin/py.typed" in names
    assert not [name for name in names if name.startswith(("tests/", "bench_configs/"))]
