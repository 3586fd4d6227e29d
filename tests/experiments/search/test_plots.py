"""The page of a search opens from disk and holds its numbers."""

import re
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]


def client(names: list[str], scores: list[float]) -> Any:
    from ax.service.ax_client import AxClient
    from ax.service.utils.instantiation import ObjectiveProperties

    made = AxClient(random_seed=0, verbose_logging=False)
    ranges = [
        {"name": n, "type": "range", "bounds": [0.0, 1.0], "value_type": "float"} for n in names
    ]
    objectives = {"score": ObjectiveProperties(minimize=False)}
    made.create_experiment(name="e", parameters=ranges, objectives=objectives)
    for score in scores:
        _, index = made.get_next_trial()
        made.complete_trial(index, raw_data=(score, 0.01))
    return made


@pytest.mark.parametrize("names", [["loss/margin"], ["loss/margin", "optimizer/lr"]])
def test_the_page_needs_no_network(names: list[str]) -> None:
    from slade_plugin.experiments.search.plots import progress_page

    page = progress_page(client(names, [0.2, 0.5, 0.3]), "score")
    assert page.count("Plotly.newPlot(") == 2
    assert not re.findall(r"<(?:script|link)[^>]*\s(?:src|href)=", page)
    assert all(name.split("/")[-1] in page for name in names)


def test_the_best_so_far() -> None:
    from slade_plugin.experiments.search.plots import _trace

    points, best = _trace(client(["x"], [0.2, 0.5, 0.3]), "score").data
    assert list(points.x) == [0, 1, 2]
    assert list(points.y) == [0.2, 0.5, 0.3]
    assert list(best.y) == [0.2, 0.5, 0.5]
