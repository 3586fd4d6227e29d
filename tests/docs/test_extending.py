"""The example of docs/extending.md, run as a user would: a module of one's own, nothing else."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.host.registry import REGISTRY

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text(encoding="utf-8")
MODULE = "my_clusterer"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the module of the page, and nothing of it imported yet."""
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(text.splitlines()) <= 25
    (tmp_path / f"{MODULE}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop(MODULE, None)


def command(bench: Any) -> str:
    """The page's command with the flags that make it small."""
    (line,) = re.findall(r"python run\.py (--config_loss slade --plugins .*)", PAGE)
    own = line.removeprefix("--config_loss slade ").replace("50", "8")
    flags = re.sub(r"--pseudo_labels \{.*?\}\}\} ", "", bench.tiny_student())
    return f"{flags} {own} --pipeline {{baseline: false}}"


@pytest.mark.slow
def test_the_example_is_trained_evaluated_and_missed_where_it_is_not(
    here: Path, bench: Any
) -> None:
    root = here / "experiments"
    outcome = bench(f"{command(bench)} --experiment_name mine", root=root)
    assert outcome.code == 0, outcome.err
    assert "pseudo labels: clusters found by Agglomerative" in outcome.out
    state = json.loads((root / "mine" / "pipeline.json").read_text("utf-8"))
    assert list(state["environment"][0]["plugins"]) == [MODULE]
    (manifest,) = state["stages"]["pseudo_labels"]["manifests"].values()
    assert manifest["clusterer"] == {"Agglomerative": {"num_clusters": 8}}
    assert (manifest["num_clusters"], manifest["noise_images"]) == (8, 0)

    again = "--experiment_name mine/student --evaluate --splits_to_eval [val]"
    assert bench(again, root=root).code == 0
    sys.modules.pop(MODULE)
    (here / f"{MODULE}.py").unlink()
    missing = bench(again, root=root)
    assert missing.code == 2
    assert f"there is no plugin '{MODULE}'" in missing.err


def test_its_setting_is_checked_before_anything_is_trained(here: Path, bench: Any) -> None:
    outcome = bench(command(bench).replace("num_clusters: 8", "num_clusters: 1"), root=here)
    assert outcome.code == 2
    assert "Agglomerative: num_clusters is 1; expected an integer >= 2" in outcome.err


def test_without_the_flag_the_class_is_unknown(here: Path, bench: Any) -> None:
    outcome = bench(command(bench).replace(f"--plugins {MODULE}", ""), root=here)
    assert outcome.code == 2
    assert "there is no clusterer named 'Agglomerative'" in outcome.err


def test_every_kind_of_the_table_is_one() -> None:
    kinds = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(kinds) > 5
    assert set(kinds) <= {kind for kind, _ in REGISTRY}
    for name in re.findall(r"`(method\.\w+)\.(\w+)`", PAGE):
        module = __import__(f"slade_plugin.{name[0]}", fromlist=[name[1]])
        assert hasattr(module, name[1])
