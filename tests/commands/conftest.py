"""A gallery of image files that the tiny experiments can embed."""

from pathlib import Path

import pytest

from slade_plugin.data.datasets import Glyphs


@pytest.fixture(scope="session")
def gallery(bench, tmp_path_factory) -> Path:
    """40 letters of 5 classes as PNG files, one folder per class. Read only."""
    folder = tmp_path_factory.mktemp("gallery") / "letters"
    letters = Glyphs(bench.dataset_root, letters_per_script=8, instances_per_face=1)
    for label in range(5):
        for place in (letters.labels == label).nonzero()[0][:8]:
            path = folder / f"class{label}" / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            letters[int(place)]["data"].save(path)
    return folder
