"""The report of a real, tiny experiment, by an HTML parser and, marked slow, in a browser."""

import base64
import io
import re
import shlex
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from slade_plugin.base.errors import ConfigError, DataError, ExperimentError
from slade_plugin.commands import report
from tests.browser import look_at

ROOT = Path(__file__).resolve().parents[2]
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Checks that every tag is closed in its turn, and notes what the page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.classes: Counter[str] = Counter()
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        self.classes.update((found.get("class") or "").split())
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]
        if tag == "img":
            self.images.append(found)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def written(bench, finished, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report.html"
    words = [str(finished), "--dataset_root", str(bench.dataset_root), "--out", str(out)]
    assert report.main([*words, "--queries", "3", "--top", "4"]) == 0
    return out


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_the_page_holds_everything_itself(page: Page, written: Path) -> None:
    assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == 0
    assert page.addresses
    assert all(address.startswith("data:image/") for address in page.addresses)
    text = written.read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(", re.sub(r'"data:[^"]*"', "", text))
    assert "Content-Security-Policy" in text
    for image in page.images:
        assert image["alt"]
        content = base64.b64decode(str(image["src"]).partition(",")[2])
        with Image.open(io.BytesIO(content)) as picture:
            picture.verify()


def test_the_grids_show_both_models_on_each_query(page: Page) -> None:
    queries = page.classes["asked"]
    assert 6 <= queries <= 9  # a tiny student may have gained or lost on fewer than three
    assert page.classes["model"] == 2 * queries
    assert page.classes["right"] + page.classes["wrong"] == 4 * 2 * queries
    assert min(page.classes["right"], page.classes["wrong"]) > 0
    assert page.text.count("✓") == page.classes["right"] + 1  # and in the text that explains it
    for title in ("Largest gains", "Largest losses", "Drawn at random"):
        assert title in page.text


def test_scores_and_curves_of_every_stage_are_there(page: Page, finished: Path) -> None:
    assert page.classes["curves"] == 3
    table = (finished / "results" / "table.md").read_text(encoding="utf-8")
    means = re.findall(r"mean\*\* *\| ([\d.]+ ± [\d.]+)", table)
    assert len(means) == 6
    assert all(mean in page.text for mean in means)
    assert "t-SNE" in page.text


def test_one_experiment_alone_has_its_best_and_worst_queries(bench, finished, tmp_path) -> None:
    out = tmp_path / "one.html"
    words = [str(finished / "teacher"), "--dataset_root", str(bench.dataset_root)]
    flags = ["--queries", "1", "--split", "val", "--embeddings", "none", "--out", str(out)]
    assert report.main([*words, *flags]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert "Best queries" in page.text
    assert page.classes["model"] == 3
    assert "t-SNE" not in page.text


def test_mistakes_are_named_before_anything_is_embedded(finished, tmp_path) -> None:
    mistakes = {
        ("--queries", "-1"): "--queries is -1",
        ("--top", "0"): "--top is 0",
        ("--out", str(tmp_path / "report.pdf")): "expected a file that ends in .html",
        ("--out", str(tmp_path / "no" / "report.html")): "expected a writable folder",
    }
    for words, message in mistakes.items():
        with pytest.raises(ConfigError, match=re.escape(message)):
            report.main([str(finished), *words])
    with pytest.raises(ExperimentError, match="is not an experiment"):
        report.main([str(tmp_path)])
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_that_is_not_there_leaves_no_report(finished, tmp_path) -> None:
    """Glyphs would be rendered anew, but with other letters: the same name, other images."""
    words = ["--dataset_root", str(tmp_path / "file"), "--out", str(tmp_path / "report.html")]
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError):
        report.main([str(finished), *words])
    assert not (tmp_path / "report.html").exists()


def test_the_documented_commands_are_read() -> None:
    text = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
    lines = re.findall(r"^slade-bench report (.*)$", text, re.MULTILINE)
    assert len(lines) >= 2
    for line in lines:
        assert report.argument_parser().parse_args(shlex.split(line, comments=True)).experiments


@pytest.mark.slow
def test_a_browser_shows_it_without_a_network(written: Path, tmp_path: Path) -> None:
    def look(tab: Any) -> Any:
        styles = {
            name: tab.evaluate(
                "name => { const s = getComputedStyle(document.querySelector(name));"
                " return [s.borderTopStyle, s.borderTopColor]; }",
                f".{name}",
            )
            for name in ("right", "wrong")
        }
        return tab.inner_text("h1"), styles

    heading, styles = look_at(written, look, tmp_path)
    assert heading == "slade_seed0"
    assert styles["right"][0] == "solid"
    assert styles["wrong"][0] == "dashed"
    assert styles["right"][1] != styles["wrong"][1]
