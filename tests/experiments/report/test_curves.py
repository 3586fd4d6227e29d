import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import yaml

from slade_plugin.experiments.report.curves import plot_curves, read_losses, read_series, read_val


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A student of two split schemes, 300 and 200 steps; its miner starts at step 100."""
    configs = {
        "config_foldernames": {"config_foldernames": ["config_loss"]},
        "config_loss": {
            "loss_funcs": {"basis_loss": {"FeatureBasisLoss": {}}},
            "trainer": {"SladeStudent": {}},
        },
    }
    (tmp_path / "student" / "configs").mkdir(parents=True)
    for name, content in configs.items():
        (tmp_path / "student" / "configs" / f"{name}.yaml").write_text(yaml.safe_dump(content))
    for scheme, steps in (("s0", 300), ("s1", 200)):
        folder = tmp_path / "student" / scheme / "saved_csvs"
        folder.mkdir(parents=True)
        with closing(sqlite3.connect(folder / "logs.db")) as database:
            make = "CREATE TABLE {} (id INTEGER PRIMARY KEY AUTOINCREMENT, {})"
            tables = {
                "loss_histories": "metric_loss, total_loss",
                "basis_loss_FeatureBasisLoss": "mu_pos, mu_neg, var_pos, var_neg",
                "unlabeled_tuple_miner_X": "num_pos_pairs, positive_precision",
                "accuracies_Y_VAL": "epoch, mean_average_precision_at_r_level0",
            }
            for name, columns in tables.items():
                database.execute(make.format(name, columns))
            for step in range(steps):
                mined = (4, 0.5) if step >= 100 else (0, None)
                rows = {
                    "loss_histories": (step, 2 * step),
                    "basis_loss_FeatureBasisLoss": (0.7, -0.1, 0.01, 0.04),
                    "unlabeled_tuple_miner_X": mined,
                }
                for name, values in rows.items():
                    marks = ", ".join("?" * len(values))
                    columns = tables[name]
                    database.execute(f"INSERT INTO {name} ({columns}) VALUES ({marks})", values)
            for epoch, score in ((-1, 0.1), (1, 0.2), (2, 0.4), (3, 0.3)):
                database.execute("INSERT INTO accuracies_Y_VAL VALUES (NULL, ?, ?)", (epoch, score))
            database.commit()
    return tmp_path / "student"


def test_columns_are_read_scheme_by_scheme(recorded: Path) -> None:
    first, second = read_series(recorded, "total_loss")
    assert (len(first), len(second)) == (300, 200)
    assert first[7] == 14
    assert np.isnan(read_series(recorded, "positive_precision")[0][:100]).all()
    assert read_series(recorded, "nothing_of_the_kind") == []
    assert list(read_losses(recorded)) == ["metric_loss", "total_loss"]


def test_val_is_read_without_the_untrained_model(recorded: Path) -> None:
    epochs, values = read_val(recorded)[0]
    assert epochs.tolist() == [1, 2, 3]
    assert values == pytest.approx([20, 40, 30])


def test_curves_show_the_means(recorded: Path) -> None:
    figure = plot_curves(recorded)
    assert figure is not None
    panels = {panel.get_title(): panel for panel in figure.axes if panel.get_title()}
    assert len(panels) == 4
    lines = {
        line.get_label(): np.asarray(line.get_ydata(), dtype=float)
        for panel in panels.values()
        for line in panel.get_lines()
    }
    # The first of 100 parts: steps 0 to 2 of one scheme and 0 to 1 of the other.
    assert lines["metric loss"][0] == pytest.approx((1.0 + 0.5) / 2)
    assert lines["mu pos"] == pytest.approx(np.full(100, 0.7))
    precision = lines["precision of P"]
    assert np.isnan(precision[:33]).all()
    assert precision[50:] == pytest.approx(50)
    assert not any(name.startswith("lag") for name in lines)  # not a share


def test_an_accuracy_that_was_not_recorded_has_no_panel(recorded: Path) -> None:
    """An experiment of the host may compute other metrics than MAP@R."""
    for path in recorded.glob("*/saved_csvs/logs.db"):
        with closing(sqlite3.connect(path)) as database:
            metrics = "mean_average_precision_at_r_level0 TO precision_at_1_level0"
            database.execute(f"ALTER TABLE accuracies_Y_VAL RENAME COLUMN {metrics}")
    figure = plot_curves(recorded)
    assert figure is not None
    assert len([panel for panel in figure.axes if panel.get_title()]) == 3


def test_an_experiment_without_records_has_no_curves(tmp_path: Path) -> None:
    assert plot_curves(tmp_path) is None


def test_a_real_student_has_every_panel_and_a_teacher_only_its_own(finished: Path) -> None:
    counts = []
    for stage in ("student", "teacher"):
        figure = plot_curves(finished / stage)
        assert figure is not None
        counts.append(sum(bool(panel.get_title()) for panel in figure.axes))
    assert counts == [5, 2]
