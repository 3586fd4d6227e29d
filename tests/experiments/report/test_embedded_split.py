import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.report.embedded_split import embed_split
from slade_plugin.experiments.report.retrieval import retrieve


def recorded(scheme: Path, split: str) -> float:
    """MAP@R of the last evaluation in the host's own records."""
    with closing(sqlite3.connect(scheme / "saved_csvs" / "logs.db")) as database:
        names = database.execute("SELECT name FROM sqlite_master").fetchall()
        (table,) = {n for (n,) in names if n.startswith("acc") and n.endswith(f"_{split.upper()}")}
        query = f'SELECT mean_average_precision_at_r_level0 FROM "{table}" ORDER BY id DESC'
        return float(database.execute(query).fetchone()[0])


@pytest.mark.parametrize("stage", ["teacher", "student"])
def test_the_mean_over_queries_is_what_the_host_recorded(bench, finished, stage: str) -> None:
    experiment = finished / stage
    for scheme in sorted(p.parent for p in experiment.glob("Test*/saved_models")):
        split = embed_split(experiment, "test", scheme.name, str(bench.dataset_root))
        assert split.split_scheme == scheme.name
        assert np.allclose(np.linalg.norm(split.embeddings, axis=1), 1, atol=1e-5)
        score = np.nanmean(retrieve(split, top=1).average_precision)
        assert score == pytest.approx(recorded(scheme, "test"), abs=1e-9)


def test_pictures_are_the_images_before_their_transform(bench, finished) -> None:
    split = embed_split(finished / "teacher", "val", None, str(bench.dataset_root))
    picture = split.picture(3)
    assert isinstance(picture, Image.Image)
    data = split.dataset[3]["data"]
    assert tuple(data.shape[1:]) == picture.size[::-1]
    assert np.corrcoef(np.asarray(picture).ravel(), data[0].ravel())[0, 1] > 0.99
    assert split.class_name(3) == split.dataset.dataset.class_names[split.labels[3]]


def test_an_unknown_split_scheme_is_named(bench, finished) -> None:
    with pytest.raises(ExperimentError, match=r"no split scheme Other.*Test50_50_Partitions2_0"):
        embed_split(finished / "teacher", "val", "Other", str(bench.dataset_root))
