import json
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.pseudo_label_quality import label_quality, quality_to_markdown


def finished_run(folder: Path, manifests: dict[str, dict[str, Any]]) -> Run:
    run = Run(folder, "dots", 0, "whole", ())
    run.experiment.mkdir(parents=True)
    for name, manifest in manifests.items():
        file = run.experiment / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"num_clusters": 4, **manifest}))
    return run


def test_mean_over_runs_and_split_schemes_in_the_order_of_rounds(tmp_path: Path) -> None:
    runs = [
        finished_run(
            tmp_path / str(number),
            {
                "round2/pseudo_labels/s0.json": {
                    "agreement": {"NMI": 0.9},
                    "last_round": {"NMI": 0.5 + number / 4, "moved": 0.25, "ids_sha256": "ab"},
                },
                "pseudo_labels/s0.json": {"agreement": {"NMI": 0.5, "purity": number / 2}},
                "pseudo_labels/s1.json": {"agreement": {"NMI": 0.7, "purity": number / 2}},
            },
        )
        for number in range(2)
    ]
    found = label_quality(runs)
    assert list(found) == ["pseudo_labels", "round2/pseudo_labels"]
    assert found["pseudo_labels"] == pytest.approx({"NMI": 60, "purity": 25})
    assert found["round2/pseudo_labels"] == pytest.approx(
        {"NMI": 90, "NMI with the last round": 62.5, "moved": 25}
    )


@pytest.mark.parametrize("manifest", [{}, {"agreement": None}])
def test_nothing_is_known_of_a_pool_without_classes(manifest: Any, tmp_path: Path) -> None:
    assert label_quality([finished_run(tmp_path, {"pseudo_labels/s0.json": manifest})]) == {}


def test_the_table_by_hand() -> None:
    text = quality_to_markdown(
        {
            "one": {"pseudo_labels": {"NMI": 70.04, "purity": 40.0}},
            "two": {"round2/pseudo_labels": {"NMI": 75.0, "moved": 51.6}},
        }
    )
    assert text.splitlines()[-4:] == [
        "| setting | stage | NMI | purity | moved |",
        "| --- | --- | --- | --- | --- |",
        "| one | pseudo_labels | 70.0 | 40.0 |  |",
        "| two | round2/pseudo_labels | 75.0 |  | 51.6 |",
    ]
