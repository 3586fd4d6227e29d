"""A loss without negative pairs in its first batch does not end the run."""

import csv
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_metric_learning.losses import ContrastiveLoss
from pytorch_metric_learning.utils.logging_presets import get_record_keeper
from record_keeper import RecordKeeper

from slade_plugin.host.api_parsers.growing_records import allow_late_series
from slade_plugin.host.api_parsers.seeded import seeded

GROUP = "loss_ContrastiveLoss_reducer_MultipleReducers_reducers_neg_loss_AvgNonZeroReducer"
EMBEDDINGS = torch.nn.functional.normalize(torch.arange(12.0).reshape(4, 3).sin())
ONE_CLASS = torch.zeros(4, dtype=torch.long)  # 12 positive pairs, no negative one
TWO_CLASSES = torch.tensor([0, 0, 1, 1])  # 4 positive pairs, 8 negative ones


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    """A record keeper as the host makes it, with its database in `tmp_path`."""
    return get_record_keeper(str(tmp_path))[0]


@pytest.fixture
def keeper(plain: Any) -> Any:
    allow_late_series(plain)
    return plain


def train(keeper: Any, *batches: torch.Tensor, loss: ContrastiveLoss | None = None) -> None:
    """Records a loss as the host's hook does, iteration by iteration, and saves."""
    loss = loss or ContrastiveLoss()
    for labels in batches:
        loss(EMBEDDINGS, labels)
        keeper.update_records({"loss": loss}, 0, recursive_types=[torch.nn.Module])
    keeper.save_records()


def column(folder: Path, name: str, table: str = GROUP) -> list[Any]:
    with closing(sqlite3.connect(folder / "logs.db")) as database:
        return [row[0] for row in database.execute(f"SELECT {name} FROM {table}")]


def test_the_host_dies_of_it_within_an_interval(plain: Any) -> None:
    with pytest.raises(AssertionError):
        train(plain, ONE_CLASS, TWO_CLASSES)


def test_the_host_dies_of_it_in_a_later_interval(plain: Any) -> None:
    loss = ContrastiveLoss()
    train(plain, ONE_CLASS, loss=loss)
    with pytest.raises(sqlite3.OperationalError, match="duplicate column name"):
        train(plain, TWO_CLASSES, loss=loss)


def test_batches_before_the_first_pair_count_none(keeper: Any, tmp_path: Path) -> None:
    """All 8 ordered negative pairs are past a margin of 1 or not; here only that some are."""
    train(keeper, ONE_CLASS, ONE_CLASS, TWO_CLASSES)
    found = column(tmp_path, "neg_pairs_past_filter")
    assert found[:2] == [0, 0]
    assert found[2] > 0
    losses = column(tmp_path, "neg_loss")
    assert losses[:2] == [0, 0]
    assert losses[2] > 0


def test_a_later_interval_adds_the_column(keeper: Any, tmp_path: Path) -> None:
    loss = ContrastiveLoss()
    train(keeper, ONE_CLASS, loss=loss)
    train(keeper, TWO_CLASSES, loss=loss)
    before, after = column(tmp_path, "neg_pairs_past_filter")
    assert before is None  # not recorded then
    assert after > 0
    assert len(column(tmp_path, "neg_loss")) == 2


def test_a_resumed_run_without_pairs_fits_the_table_it_had(keeper: Any, tmp_path: Path) -> None:
    """A new process knows nothing of the column at first."""
    train(keeper, TWO_CLASSES)
    again = get_record_keeper(str(tmp_path))[0]
    allow_late_series(again)
    train(again, ONE_CLASS, TWO_CLASSES)
    first, gap, last = column(tmp_path, "neg_pairs_past_filter")
    assert (first, gap) == (last, 0)


def test_the_csv_file_holds_the_same(keeper: Any, tmp_path: Path) -> None:
    train(keeper, ONE_CLASS, TWO_CLASSES)
    with (tmp_path / f"{GROUP}.csv").open() as file:
        rows = [float(row["neg_pairs_past_filter"]) for row in csv.DictReader(file)]
    assert rows == column(tmp_path, "neg_pairs_past_filter")


def test_what_is_complete_is_recorded_as_by_the_host(plain: Any, tmp_path: Path) -> None:
    other = get_record_keeper(str(tmp_path / "grown"))[0]
    allow_late_series(other)
    tables = []
    for keeper, folder in ((plain, tmp_path), (other, tmp_path / "grown")):
        train(keeper, TWO_CLASSES, TWO_CLASSES)
        with closing(sqlite3.connect(folder / "logs.db")) as database:
            names = database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            tables.append(
                {n: database.execute(f"SELECT * FROM {n}").fetchall() for (n,) in names.fetchall()}
            )
    assert tables[0] == tables[1]
    assert len(tables[0]) >= 3


def test_accuracies_of_unequal_number_stay_an_error(keeper: Any) -> None:
    """They are measured together; filling in a 0 would make up a score."""
    group = "accuracies_normalized_VAL"
    keeper.update_records({"epoch": 1, "score": 0.5}, 1, input_group_name_for_non_objects=group)
    keeper.update_records({"epoch": 2}, 2, input_group_name_for_non_objects=group)
    with pytest.raises(AssertionError):
        keeper.save_records()


def test_words_and_times_are_left_to_the_host(keeper: Any, tmp_path: Path) -> None:
    for name in ("a", "b"):
        keeper.update_records({"name": name}, 1, input_group_name_for_non_objects="words")
        keeper.save_records()
    assert column(tmp_path, "name", "words") == ["a", "b"]


def test_without_a_writer_there_is_nothing_to_do() -> None:
    silent = RecordKeeper()
    before = dict(vars(silent))
    allow_late_series(silent)
    allow_late_series(None)
    assert vars(silent) == before


def test_our_api_parsers_record_so(tmp_path: Path) -> None:
    class Host:
        """An API parser."""

        def __init__(self) -> None:
            self.args = type("Args", (), {"seed": 0})

        def get_record_keeper(self) -> Any:
            return get_record_keeper(str(tmp_path))[0]

    parser: Any = seeded(Host)()
    train(parser.get_record_keeper(), ONE_CLASS, TWO_CLASSES)
    assert column(tmp_path, "neg_pairs_past_filter")[0] == 0
