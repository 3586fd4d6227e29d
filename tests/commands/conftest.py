"""Commands of `slade-bench`, and a gallery of image files that the tiny experiments can embed."""

from pathlib import Path
from typing import Any

import pytest

from slade_plugin.data.datasets import Glyphs


@pytest.fixture(scope="session")
def call(bench: Any) -> Any:
    """Runs a command, given as words and paths."""
    return lambda *words: bench.run_words([str(word) for word in words])


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
