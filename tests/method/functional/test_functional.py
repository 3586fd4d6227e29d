"""The package of equations: what it needs and what its examples say."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import slade_plugin.method.functional

MODULES = sorted(
    module.name for module in pkgutil.iter_modules(slade_plugin.method.functional.__path__)
)
BLOCKED = [
    "powerful_benchmarker",
    "pytorch_metric_learning",
    "record_keeper",
    "easy_module_attribute_getter",
    "faiss",
    "sklearn",
    "torchvision",
    "numpy",
]


def test_functional_needs_torch_alone() -> None:
    code = (
        "import sys, warnings\n"
        "warnings.simplefilter('ignore')\n"  # torch says that numpy is missing
        f"sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"
        "import slade_plugin.method.functional as functional, torch\n"
        "pairs = functional.mine_by_similarity(torch.eye(2), 0.5, 0.1)\n"
        "print([index.tolist() for index in pairs])\n"
    )
    root = Path(slade_plugin.method.functional.__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[[], [], [0, 1], [1, 0]]", done.stderr


def test_every_public_name_is_there_once() -> None:
    names = slade_plugin.method.functional.__all__
    assert len(set(names)) == len(names)
    assert all(hasattr(slade_plugin.method.functional, name) for name in names)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_hold(name: str) -> None:
    module = importlib.import_module(f"slade_plugin.method.functional.{name}")
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    modules = [
        importlib.import_module(f"slade_plugin.method.functional.{name}") for name in MODULES
    ]
    assert sum(doctest.testmod(module).attempted for module in modules) >= 5
