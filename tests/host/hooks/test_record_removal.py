"""Records after a checkpoint, in the host's own record keeper."""

from pathlib import Path
from typing import Any

import pytest
from pytorch_metric_learning.utils import logging_presets

from slade_plugin.host.hooks.record_removal import (
    find_ends_of_records,
    remove_csv_rows_after,
    remove_records_after,
    tables_with,
)


@pytest.fixture
def keeper(tmp_path: Path) -> Any:
    """Epochs 1 to 3, each with two iterations."""
    record_keeper, _, _ = logging_presets.get_record_keeper(str(tmp_path))
    for epoch in (1, 2, 3):
        for iteration in (0, 1):
            record(record_keeper, {"loss": epoch + iteration / 10}, "losses")
        record(record_keeper, {"epoch": epoch, "map": epoch / 10}, "accuracies")
        record_keeper.save_records()
        if epoch == 2:
            record_keeper.ends = find_ends_of_records(record_keeper)
    return record_keeper


def record(record_keeper: Any, row: dict[str, float], table: str) -> None:
    record_keeper.update_records(row, 0, input_group_name_for_non_objects=table)


def values(record_keeper: Any, column: str, table: str) -> list[float]:
    return [row[column] for row in record_keeper.query(f"SELECT {column} FROM {table}")]


def test_epochs_and_iterations_end_where_the_checkpoint_was(keeper: Any, tmp_path: Path) -> None:
    assert keeper.ends["losses"]["row"] == 4
    remove_records_after(keeper, 2, keeper.ends)
    assert values(keeper, "epoch", "accuracies") == [1, 2]
    assert values(keeper, "loss", "losses") == [1.0, 1.1, 2.0, 2.1]
    assert (tmp_path / "accuracies.csv").read_text().split() == ["epoch,map", "1,0.1", "2,0.2"]
    assert (tmp_path / "losses.csv").read_text().split() == ["loss", "1.0", "1.1", "2.0", "2.1"]
    record(keeper, {"loss": 9.0}, "losses")
    keeper.save_records()
    assert values(keeper, "id", "losses")[-1] == 5  # as if nothing had been removed


def test_iterations_stay_where_the_checkpoint_says_nothing(keeper: Any) -> None:
    remove_records_after(keeper, 1, None)
    assert values(keeper, "epoch", "accuracies") == [1]
    assert len(values(keeper, "loss", "losses")) == 6


def test_a_table_that_began_later_is_emptied(keeper: Any, tmp_path: Path) -> None:
    remove_records_after(keeper, -2, {})
    assert values(keeper, "loss", "losses") == []
    assert not (tmp_path / "losses.csv").exists()


def test_nothing_recorded_is_no_error() -> None:
    assert find_ends_of_records(None) == {}
    remove_records_after(None, 3, {})


def test_tables_are_found_by_column(keeper: Any) -> None:
    database = keeper.record_writer.local_db
    assert tables_with(database, "epoch") == ["accuracies"]
    assert sorted(tables_with(database, "id")) == ["accuracies", "losses"]


def test_csv_rows_below_each_header_are_looked_at(tmp_path: Path) -> None:
    """The host writes another header into the file when columns change."""
    path = tmp_path / "accuracies.csv"
    path.write_bytes(
        b"epoch,a\r\n1,0.1\r\n3,0.3\r\na,epoch,b\r\n0.2,2,x\r\n3,1,y\r\n0.4,4,z\r\n9\r\n0,?,w\r\n"
    )
    other = tmp_path / "losses.csv"
    other.write_bytes(b"total_loss\r\n5\r\n")
    remove_csv_rows_after(path, 2)
    remove_csv_rows_after(other, 2)
    assert path.read_bytes() == (
        b"epoch,a\r\n1,0.1\r\na,epoch,b\r\n0.2,2,x\r\n3,1,y\r\n9\r\n0,?,w\r\n"
    )
    assert other.read_bytes() == b"total_loss\r\n5\r\n"


@pytest.mark.parametrize("torn", [b"0.5,1", b"0.5", b"0.5,12,x", b'"'])
def test_half_a_row_is_removed(torn: bytes, tmp_path: Path) -> None:
    """Of a disk that was full: the next row would be written behind it, into the same line."""
    path = tmp_path / "accuracies.csv"
    path.write_bytes(b"a,epoch,b\r\n0.1,1,x\r\n" + torn)
    remove_csv_rows_after(path, 5)
    assert path.read_bytes() == b"a,epoch,b\r\n0.1,1,x\r\n"
