import csv
import io
import json
from typing import Any

import pytest

from slade_plugin.experiments.results.layouts import LAYOUTS, SUFFIXES

MAP_AT_R = "mean_average_precision_at_r"


def row(method: str, seeds: list[int | None], **metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "dataset": "Glyphs", "method": method, "split": "test", "embedding": "concatenated",
        "dim": 512, "seeds": seeds, "split_schemes": 4, "over": "runs", "poster_row": None,
        "experiments": ["a"], "metrics": metrics,
    }  # fmt: skip


ROWS = [
    row("tri_plet & 5%", [0, 1], **{MAP_AT_R: {
        "mean": 12.344, "standard_error": 0.1, "interval95": 1.271, "values": [12.244, 12.444],
    }}),
    row("slade", [None], recall_at_10={"mean": 50.0, "values": [50.0]}, **{MAP_AT_R: {
        "mean": 33.0, "values": [33.0], "published": 33.59, "difference": -0.59,
    }}),
]  # fmt: skip
ROWS[1]["poster_row"] = "SLADE (S2)"


@pytest.mark.parametrize(
    ("layout", "sign"), [("terminal", "  "), ("markdown", "|"), ("latex", "&")]
)
def test_cells_by_hand(layout: str, sign: str) -> None:
    lines = LAYOUTS[layout](ROWS).replace("\\&", "and").replace("\\\\", "").splitlines()
    cells = [[c.strip() for c in line.split(sign) if c.strip()] for line in lines]
    by_name = {words[1]: words for words in cells if len(words) > 5}
    head = by_name["method"]
    assert head[5:8] == ["MAP@R", "MAP@R published", "difference"]
    assert "R@10" in head
    first = next(words for name, words in by_name.items() if name.startswith("tri"))
    assert first[2:6] == ["test", "concatenated 512-d", "2 x 4", "12.34 ± 1.27 (0.10)"]
    assert by_name["slade = SLADE (S2)"][4:] == ["1 x 4", "33.00", "33.59", "-0.59", "50.00"]
    assert "standard error" in " ".join(lines)
    assert "CVPR 2021" in " ".join(lines)


def test_latex_escapes_names() -> None:
    text = LAYOUTS["latex"](ROWS)
    assert r"tri\_plet \& 5\%" in text
    assert r"\toprule" in text
    assert all(line.startswith("%") for line in text.split(r"\begin{tabular}")[0].splitlines())


def test_csv_holds_every_number() -> None:
    first, second = csv.DictReader(io.StringIO(LAYOUTS["csv"](ROWS)))
    assert (first["method"], first["seeds"], first["dim"]) == ("tri_plet & 5%", "0 1", "512")
    assert float(first[f"{MAP_AT_R}_interval95"]) == 1.271
    assert float(second[f"{MAP_AT_R}_difference"]) == -0.59
    assert (second["recall_at_10_mean"], first["recall_at_10_mean"]) == ("50.0", "")


def test_json_holds_the_rows() -> None:
    content = json.loads(LAYOUTS["json"](ROWS))
    assert content["rows"] == ROWS
    assert content["unit"] == "percent"


def test_without_published_numbers_there_is_no_column_for_them() -> None:
    text = LAYOUTS["markdown"](ROWS[:1])
    assert "published" not in text.lower()
    assert "R@" not in text


def test_every_ending_has_a_layout() -> None:
    assert set(SUFFIXES.values()) == set(LAYOUTS)
