import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.experiments.results.ensemble import read_ensemble

NAME = "ConcatenateEmbeddings"


def test_what_the_host_evaluates_is_read(finished: Path, bench: Any, tmp_path: Path) -> None:
    """Its own --evaluate_ensemble, beside the means over split schemes that it writes too."""
    shutil.copytree(finished, tmp_path / "run")
    student = tmp_path / "run" / "student"
    assert read_ensemble(student, "test", NAME) == {}
    flags = "--experiment_name run/student --evaluate_ensemble --splits_to_eval [test]"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    scores = read_ensemble(student, "test", NAME)
    assert list(scores) == ["mean_average_precision_at_r", "r_precision", "precision_at_1"]
    assert all(0 < score <= 100 for score in scores.values())
    assert read_ensemble(student, "val", NAME) == {}
    assert read_ensemble(student, "test", "MeanAggregator") not in ({}, scores)


def test_the_last_evaluation_counts(make_experiment: Callable[..., Path], tmp_path: Path) -> None:
    experiment = make_experiment(tmp_path / "e", {"val": (1, 2)}, ensemble={"test": 30})
    database = experiment / "meta_logs" / "saved_csvs" / "logs.db"
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'Conc%'")
        ((table,),) = tables.fetchall()
        columns = "epoch, trained_status, mean_average_precision_at_r_level0"
        columns += ", r_precision_level0, precision_at_1_level0"
        for status, score in (("trained", 0.4), ("untrained_trunk", 0.1)):
            values = (status, status, score, score, score)
            connection.execute(f"INSERT INTO {table} ({columns}) VALUES (?, ?, ?, ?, ?)", values)
        connection.commit()
    assert read_ensemble(experiment, "test", NAME)["r_precision"] == pytest.approx(40)


def test_without_records_nothing_is_made(tmp_path: Path) -> None:
    assert read_ensemble(tmp_path, "test", NAME) == {}
    assert list(tmp_path.iterdir()) == []
