"""`--list`: every registered class and every config, one line each."""

from pathlib import Path

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.listing import listing
from slade_plugin.config.composition import available_configs, config_root, read_areas
from slade_plugin.host.registry import REGISTRY


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return listing().splitlines()


@pytest.mark.parametrize(("kind", "cls"), REGISTRY, ids=[cls.__name__ for _, cls in REGISTRY])
def test_every_class_has_a_line_with_what_it_is(kind: str, cls: type, lines: list[str]) -> None:
    (line,) = [line for line in lines if line.split()[:2] == [kind, cls.__name__]]
    description = line.split(maxsplit=2)[2]
    assert cls.__doc__ is not None
    assert description == cls.__doc__.strip().splitlines()[0]


def test_every_config_and_study_has_a_line_with_its_first_comment(lines: list[str]) -> None:
    found = {}
    for line in lines:
        if line.startswith(("  --config_", "  slade-bench study ")):
            area, name, *comment = line.replace("slade-bench study", "studies").split()
            found[area.removeprefix("--"), name] = " ".join(comment)
    root = config_root()
    areas = [*read_areas(root), "studies"]
    expected = [(area, n) for area in areas for n in available_configs(root, area)]
    assert list(found) == expected
    for (area, name), comment in found.items():
        first = (root / area / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
        assert comment == " ".join(first.removeprefix("# ").split())


def test_another_root_is_listed(tmp_path: Path) -> None:
    """A file without a comment gets a line all the same."""
    (tmp_path / "config_a").mkdir()
    (tmp_path / "config_a" / "default.yaml").write_text("key: 1\n")
    (tmp_path / "config_foldernames.yaml").write_text(
        "config_foldernames: [config_a]\nconfig_a: default\n"
    )
    text = listing(str(tmp_path))
    assert f"Configs in {tmp_path}:" in text
    assert text.splitlines()[-1] == "  --config_a default"


def test_a_root_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config_foldernames\.yaml"):
        listing(str(tmp_path))
