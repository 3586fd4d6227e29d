import base64
import io

import numpy as np
import pytest
from jinja2 import UndefinedError
from PIL import Image

from slade_plugin.retrieval.pages import data_uri, render_page, thumbnail_uri


def picture_in(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_small_pictures_are_kept_bit_for_bit() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (112, 60, 3), np.uint8)
    uri = thumbnail_uri(Image.fromarray(pixels))
    assert uri.startswith("data:image/png;base64,")
    assert np.array_equal(np.asarray(picture_in(uri)), pixels)


def test_large_pictures_are_shrunk() -> None:
    uri = thumbnail_uri(Image.new("L", (1120, 560), 90))
    assert uri.startswith("data:image/jpeg;base64,")
    assert picture_in(uri).size == (112, 56)


def test_bytes_come_back() -> None:
    assert (
        base64.b64decode(data_uri(b"\0\xff", "x/y").removeprefix("data:x/y;base64,")) == b"\0\xff"
    )


def test_text_is_escaped_and_a_missing_one_is_an_error() -> None:
    content = {"images": 1, "score_name": "<b>", "queries": [], "origin": {"<i>": "&"}}
    page = render_page("retrieval/search_page.html", title="<script>", **content)
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;" in page
    with pytest.raises(UndefinedError):
        render_page("retrieval/search_page.html", **content)
