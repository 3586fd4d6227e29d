import json
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pytorch_metric_learning.utils.logging_presets import get_record_keeper

from slade_plugin.experiments.studies.mined_pairs import (
    COLUMNS,
    has_rounds,
    pair_parts,
    read_records,
    share,
)
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.method.functional import pair_moments
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.miners import BasisSimilarityMiner

NAN = math.nan
LAGS = {"positive_lag", "negative_lag"}


def record(student: Path, scheme: str, steps: Sequence[Sequence[float]]) -> None:
    """What the host writes of the miner after steps of (precision, recall, pairs) of P and of N."""
    folder = student / scheme / "saved_csvs"
    keeper, _, _ = get_record_keeper(str(folder))
    miner = BasisSimilarityMiner()
    for iteration, step in enumerate(steps):
        miner.positive_precision, miner.positive_recall, miner.num_pos_pairs = step[:3]
        miner.negative_precision, miner.negative_recall, miner.num_neg_pairs = step[3:]
        keeper.update_records({"unlabeled_tuple_miner": miner}, iteration)
    keeper.save_records()


STEPS = [(0.5, 0.2, 30, 1.0, 0.5, 100), (NAN, 0.0, 0, NAN, 0.0, 0), (0.1, 0.6, 10, 0.8, 0.7, 60)]


def test_records_are_read_as_the_host_writes_them(tmp_path: Path) -> None:
    """An unknown share is NaN; folders without records of a miner are passed over."""
    record(tmp_path, "s0", STEPS)
    record(tmp_path, "s1", STEPS[:1])
    keeper, _, _ = get_record_keeper(str(tmp_path / "meta_logs" / "saved_csvs"))
    keeper.update_records({"a": 1.0}, 0, input_group_name_for_non_objects="other")
    keeper.save_records()
    first, second = read_records(tmp_path)
    assert set(first) == set(COLUMNS) - LAGS
    np.testing.assert_equal(first["positive_precision"], [0.5, NAN, 0.1])
    np.testing.assert_equal(first["num_neg_pairs"], [100, 0, 60])
    np.testing.assert_equal(second["negative_recall"], [0.5])
    assert read_records(tmp_path / "nothing") == []


def test_older_records_lack_columns(tmp_path: Path) -> None:
    """Recall of N was added later; the rest is there."""
    record(tmp_path, "s0", STEPS)
    with closing(sqlite3.connect(tmp_path / "s0" / "saved_csvs" / "logs.db")) as database:
        table = "unlabeled_tuple_miner_BasisSimilarityMiner"
        database.execute(f"ALTER TABLE {table} DROP COLUMN negative_recall")
        database.commit()
    (records,) = read_records(tmp_path)
    assert set(records) == set(COLUMNS) - {"negative_recall"} - LAGS


@pytest.mark.parametrize("warmup", [0, 2])
@pytest.mark.parametrize("corrected", [False, True])
def test_how_far_the_running_means_lag(tmp_path: Path, corrected: bool, warmup: int) -> None:
    """The batch means, which nothing records, follow from the running means of two steps."""
    record(tmp_path, "s0", STEPS)
    options = {"momentum": 0.9, "bias_correction": corrected}
    loss = FeatureBasisLoss(num_classes=3, embedding_size=3, **options)
    keeper, _, _ = get_record_keeper(str(tmp_path / "s0" / "saved_csvs"))
    expected = []
    for iteration in range(-warmup, 3):
        embeddings = torch.randn(8, 3, generator=torch.Generator().manual_seed(9 + iteration))
        loss(embeddings, torch.arange(8) // 2 + 3)
        if iteration < 0:
            continue
        batch = pair_moments(loss.pool_similarity, torch.arange(8) // 2)
        expected.append([batch.positive.mean - loss.mu_pos, batch.negative.mean - loss.mu_neg])
        keeper.update_records({"basis_loss": loss}, iteration)
    keeper.save_records()
    trainer = {"SladeStudent": {"basis_warmup_iterations": warmup}}
    loss_funcs = {"basis_loss": {"FeatureBasisLoss": options}}
    write_config(tmp_path, {"loss_funcs": loss_funcs, "trainer": trainer})
    (records,) = read_records(tmp_path)
    lags = np.stack([records["positive_lag"], records["negative_lag"]], axis=1)
    if warmup:  # the running means before the first row are not recorded
        expected[0] = [NAN, NAN]
    np.testing.assert_allclose(lags, expected, atol=1e-5)
    assert abs(lags[1:]).min() > 1e-3


def write_config(experiment: Path, content: dict[str, Any]) -> None:
    folder = experiment / "configs"
    folder.mkdir()
    areas = {"config_foldernames": {"config_foldernames": ["config_loss"]}, "config_loss": content}
    for name, area in areas.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(area))


def test_a_precision_is_that_of_all_pairs_and_a_recall_the_mean_of_steps(tmp_path: Path) -> None:
    """15 + 0 + 1 right pairs of 30 + 0 + 10; the mean of the steps would be 0.3."""
    record(tmp_path, "s0", STEPS)
    (records,) = read_records(tmp_path)
    assert share(records, "positive_precision", 0, 1) == pytest.approx(16 / 40)
    assert share(records, "negative_precision", 0, 1) == pytest.approx(148 / 160)
    assert share(records, "positive_recall", 0, 1) == pytest.approx(0.8 / 3)
    assert share(records, "num_pos_pairs", 0, 1) == pytest.approx(40 / 3)


@pytest.mark.parametrize(
    ("start", "end", "steps"),
    [
        (0.0, 0.1, range(4)),
        (0.45, 0.55, range(18, 22)),
        (0.9, 1.0, range(36, 40)),
        (0.3, 0.35, range(12, 14)),
        (0.5, 0.501, range(20, 21)),
    ],
)
def test_parts_of_training(start: float, end: float, steps: range) -> None:
    records = {"positive_recall": np.arange(40.0)}
    assert share(records, "positive_recall", start, end) == pytest.approx(np.mean(steps))


def test_where_nothing_is_known_there_is_no_share() -> None:
    records = {
        "positive_precision": np.array([NAN, 0.5]),
        "num_pos_pairs": np.array([0.0, 2.0]),
    }
    assert math.isnan(share(records, "positive_precision", 0, 0.5))
    assert share(records, "num_pos_pairs", 0, 0.5) == 0
    assert share(records, "positive_precision", 0, 1) == 0.5


def run_in(folder: Path, *students: str) -> Run:
    """A run that trained students; without any it has not begun."""
    run = Run(folder, "dots", 0, "a", ())
    if students:
        run.experiment.mkdir(parents=True, exist_ok=True)
        state = {"plan": {"teacher": {}, **{name: {} for name in students}}}
        (run.experiment / "pipeline.json").write_text(json.dumps(state))
    return run


def test_parts_are_means_over_seeds_and_schemes_that_have_a_value(tmp_path: Path) -> None:
    """Percent of the shares, pairs a step of the counts; what no scheme knows is NaN."""
    known, unknown = (0.4, 0.2, 10, 1.0, 0.5, 4), (NAN, 0.0, 0, NAN, NAN, 0)
    record(tmp_path / "0" / "experiment" / "student", "s0", [unknown, known, known])
    record(tmp_path / "0" / "experiment" / "student", "s1", [unknown, unknown, known])
    better = (0.8, 0.4, 30, 1.0, 0.5, 4)
    record(tmp_path / "1" / "experiment" / "student", "s0", [unknown, better, better])
    thirds = [(0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1)]
    found = pair_parts([run_in(tmp_path / seed, "student") for seed in "01"], thirds)
    np.testing.assert_allclose(found["positive_precision"], [NAN, 60, 160 / 3])
    np.testing.assert_allclose(found["positive_recall"], [0, 20, 80 / 3])
    np.testing.assert_allclose(found["num_pos_pairs"], [0, 40 / 3, 50 / 3])
    np.testing.assert_allclose(found["negative_precision"], [NAN, 100, 100])
    assert list(found) == [column for column in COLUMNS if column not in LAGS]


def test_of_several_rounds_the_last_student_counts(tmp_path: Path) -> None:
    places = {"student": 1.0, "round2/student": 0.2, "round10/student": 0.5}
    for place, value in places.items():
        record(tmp_path / "experiment" / place, "s0", [(value, 0.0, 10, 1.0, 0.0, 4)])
    run = run_in(tmp_path, *places)
    assert pair_parts([run], [(0, 1)])["positive_precision"] == [50]
    assert has_rounds([run_in(tmp_path / "other", "student"), run])
    assert not has_rounds([run_in(tmp_path / "other"), run_in(tmp_path / "none")])


def test_a_student_without_pairs_has_no_parts(tmp_path: Path) -> None:
    assert pair_parts([run_in(tmp_path)], [(0, 1)]) == {}
    assert pair_parts([run_in(tmp_path, "student")], [(0, 1)]) == {}


def test_without_true_labels_only_counts_are_known(tmp_path: Path) -> None:
    step = (NAN, NAN, 10, NAN, NAN, 4)
    record(tmp_path / "experiment" / "student", "s0", [step, step])
    assert pair_parts([run_in(tmp_path, "student")], [(0, 1)]) == {
        "num_pos_pairs": [10],
        "num_neg_pairs": [4],
    }
