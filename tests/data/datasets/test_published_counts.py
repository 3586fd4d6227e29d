import logging
from pathlib import Path

import numpy as np
import pytest

from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.files.image_list import ImageList


def test_the_counts_are_compared_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    images = ImageList(tmp_path, np.array(["a", "b", "c"]), np.array([0, 0, 1]), ["x", "y"])
    with caplog.at_level(logging.INFO, "slade_plugin"):
        PublishedCounts(2, 3, "a paper").compare("Birds", images)
        for _ in range(2):
            PublishedCounts(2, 4, "a paper").compare("Birds", images)
    assert caplog.messages == [
        f"Birds: 3 images of 2 classes in {tmp_path}, as published",
        f"Birds: 3 images of 2 classes in {tmp_path}; published are 4 images of 2 classes "
        "(a paper)",
    ]
