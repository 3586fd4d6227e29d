"""Every module has its test file at the mirrored place, so that both are easy to find."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "slade_plugin"
TESTS = ROOT / "tests"

# Module -> why it has no test file of its own. Keep it small.
WITHOUT_TEST: dict[str, str] = {}

MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)


def mirrored(module: str) -> Path:
    path = Path(module)
    return TESTS / path.parent / f"test_{path.name}"


def test_the_walk_finds_the_package() -> None:
    assert "runner.py" in MODULES
    assert "method/losses/feature_basis_loss.py" in MODULES


@pytest.mark.parametrize("module", [m for m in MODULES if m not in WITHOUT_TEST])
def test_module_has_a_test_file(module: str) -> None:
    test_file = mirrored(module)
    assert test_file.is_file(), (
        f"slade_plugin/{module} has no {test_file.relative_to(ROOT)}; add it, or name the module "
        "in WITHOUT_TEST with the reason"
    )
    assert "def test_" in test_file.read_text(encoding="utf-8"), f"{test_file} tests nothing"


def test_exceptions_are_not_stale() -> None:
    """An exception names a module that exists and that really has no test file."""
    stale = [m for m in WITHOUT_TEST if m not in MODULES or mirrored(m).is_file()]
    assert stale == []
