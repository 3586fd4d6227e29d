import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.leaderboard.page import WRITERS, to_csv, to_html, to_markdown
from slade_plugin.experiments.leaderboard.ranking import Ranking, rank_records

OUT = Path("site/board.html")


@pytest.fixture
def rankings(make_record: Callable[..., dict[str, Any]]) -> list[Ranking]:
    records = {
        Path("board/a b"): make_record("<i>a</i>", {0: 50.0, 1: 55.0, 2: 60.0}),
        Path("board/b"): make_record("b", {0: 52.0, 1: 57.1, 2: 61.9}),
        Path("board/c"): make_record("c", {-1: 51.0, -2: 56.0}),
    }
    records[Path("board/c")]["runs"][0]["training"][0]["steps"] = None
    return rank_records(records)


def test_csv_holds_every_number(rankings: list[Ranking]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(rankings, OUT))))
    assert [row["method"] for row in rows[:3]] == ["b", "<i>a</i>", "c"]
    first, second, third = rows[:3]
    assert float(first["mean_average_precision_at_r"]) == pytest.approx(57.0)
    assert float(second["difference"]) == pytest.approx(-2.0)
    assert (second["test"], third["test"]) == ("paired, 3 seeds", "unpaired")
    assert (first["steps"], third["steps"]) == ("12", "")
    assert (first["trials"], first["tuned_on"], first["runs"]) == ("12", "val", "3")
    assert second["record"] == "../board/a%20b/record.json"
    quoted = rows[3:]
    assert len(quoted) == 2 * 19
    assert {row["rank"] for row in quoted} == {row["record"] for row in quoted} == {""}


def test_markdown_has_a_section_for_each_list(rankings: list[Ranking]) -> None:
    text = to_markdown(rankings, OUT)
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert titles[0] == "Glyphs, conv4, 8-d, new classes for each seed"
    assert [title.partition(":")[0] for title in titles[1:]] == ["CUB200", "Cars196"]
    line = next(line for line in text.splitlines() if "<i>" in line)
    cells = [cell.strip() for cell in line.split("|")[1:-1]]
    assert cells[1] == "[<i>a</i>](../board/a%20b/record.json)"
    assert cells[3:5] == ["55.00 ± 12.42", "-2.00 ± 0.25"]
    assert cells[-3:] == ["3 x 1", "12", "12 on val"]
    assert "neither ranked nor tested" in text


def test_ties_are_marked(rankings: list[Ranking]) -> None:
    """Three comparisons: 2 points between "a" and "b" are significant, "c" is tied with both."""
    text = to_markdown(rankings, OUT)
    found = re.findall(r"^\| (\S+) +\| (?:\[)(.*?)\]", text, re.MULTILINE)
    assert found == [("=1", "b"), ("2", "<i>a</i>"), ("=1", "c")]


@pytest.mark.slow
def test_the_page_escapes_and_is_the_same_each_time(rankings: list[Ranking]) -> None:
    page = to_html(rankings, OUT)
    assert to_html(rankings[:1], OUT) == to_html(rankings[:1], OUT)
    assert "<i>" not in page
    assert "&lt;i&gt;a&lt;/i&gt;" in page
    assert page.count("<svg") == page.count("<table>") == 3
    assert not re.search(r'(src|href)="(https?:)?//', page)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "script-src 'sha256-" in policy[1]
    assert "currentColor" in page
    assert "random_seed: the seed of the run" in page


def test_a_page_without_records_quotes_the_poster() -> None:
    for write in WRITERS.values():
        assert "SLADE (S4)" in write(rank_records({}), OUT)
