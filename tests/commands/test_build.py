"""`slade-bench build`, from the words of the command to the images that a data set reads."""

from pathlib import Path
from typing import Any

import pytest

from slade_plugin.data.datasets import Furniture, Icons, furniture_building, icon_building
from tests.furniture_packages import Painter, write_packages
from tests.icon_packages import write_package


def test_icons(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(icon_building, "MIN_LABELED", 12)
    monkeypatch.setattr(icon_building, "MIN_POOL", 10)
    package = write_package(tmp_path / "package")
    outcome = bench(f"build icons {package} --dataset_root {tmp_path / 'data'}", root=None)
    assert outcome.code == 0, outcome.err
    assert Path(outcome.out.strip()) == tmp_path / "data" / "icons" / "v1.json"
    assert len(Icons(tmp_path / "data").class_names) == 2


def test_a_missing_package_is_an_error_that_says_how_to_get_it(bench: Any, tmp_path: Path) -> None:
    outcome = bench(f"build icons {tmp_path / 'nothing'} --dataset_root {tmp_path}", root=None)
    assert outcome.code == 2
    assert "npm pack @iconify/json@" in outcome.err


def test_glyphs_are_rendered_unless_they_exist(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def render(folder: Path, stem: str, instances_per_face: int, letters: int | None) -> None:
        assert (instances_per_face, letters) == (2, None)
        folder.mkdir()
        (folder / f"{stem}.json").touch(exist_ok=False)

    monkeypatch.setattr("slade_plugin.data.datasets.glyphs._render", render)
    command = f"build glyphs --instances_per_face 2 --dataset_root {tmp_path}"
    first, second = bench(command, root=None), bench(command, root=None)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert first.out == second.out
    assert Path(first.out.strip()) == tmp_path / "glyphs" / "v2_all_x2.json"


def test_furniture(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(furniture_building, "SceneRenderer", Painter)
    packages = write_packages(tmp_path / "packages")
    command = f"build furniture {packages} --views 2 --size 32 --dataset_root {tmp_path / 'data'}"
    outcome = bench(command, root=None)
    assert outcome.code == 0, outcome.err
    expected = tmp_path / "data" / "furniture" / "v1_2_views_32_px.json"
    assert Path(outcome.out.strip()) == expected
    assert len(Furniture(tmp_path / "data", views=2, size=32)) == 6
    refused = bench(command.replace("--views 2", "--views 1"), root=None)
    assert refused.code == 2
    assert "views is 1; expected an integer >= 2" in refused.err
