import base64
import io
from functools import partial

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import DataError
from slade_plugin.experiments.report.page import grid, summarize, thumbnail
from slade_plugin.experiments.report.retrieval import retrieve


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_small_pictures_stay_as_they_are(make_split) -> None:
    uri = thumbnail(make_split(), 5)
    assert uri.startswith("data:image/png;base64,")
    assert opened(uri).size == (20, 10)
    assert opened(uri).getpixel((3, 3)) == (50, 0, 0)


def test_large_pictures_shrink_and_keep_their_shape(make_split) -> None:
    uri = thumbnail(make_split(side=600), 0)
    assert uri.startswith("data:image/jpeg;base64,")
    assert opened(uri).size == (112, 56)


def test_a_data_set_without_pictures_is_refused(make_split, monkeypatch) -> None:
    split = make_split()
    monkeypatch.setattr(type(split.dataset), "__getitem__", lambda self, index: {"data": 1.5})
    with pytest.raises(DataError, match=r"float.*--queries 0"):
        thumbnail(split, 0)


def test_tiles_say_right_or_wrong_under_each_model(make_split) -> None:
    split, other = make_split(), make_split(angles=[0, 1, 2, 3, 90, 91, 92, 180])
    found = {"before": retrieve(split, 3), "after": retrieve(other, 3)}
    (item,) = grid(split, found, [0], 3, partial(thumbnail, split))
    assert item["query"].title == "owl"
    assert item["query"].is_right is None
    before, after = item["models"]
    assert [tile.is_right for tile in before["tiles"]] == [False, True, True]
    assert [tile.title for tile in before["tiles"]] == ["<tit> & co", "owl", "owl"]
    assert before["score"] == pytest.approx(100 * 7 / 18)
    assert [tile.is_right for tile in after["tiles"]] == [True, True, True]
    assert after["score"] == pytest.approx(100)


def test_the_summary_counts_what_changed(make_split) -> None:
    before, after = retrieve(make_split(), 1), retrieve(make_split(angles=[0] * 4 + [90] * 4), 1)
    facts = summarize({"before": before, "after": after})
    gain = after.average_precision - before.average_precision
    assert facts["queries"] == 7
    assert facts["better"] == (gain > 0).sum() > 0
    assert facts["worse"] == (gain < 0).sum()
    assert facts["map_at_r"]["before"] == pytest.approx(100 * np.nanmean(before.average_precision))
    assert "better" not in summarize({"only": before})
