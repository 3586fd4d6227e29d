from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.utils.logging_presets import get_record_keeper
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from slade_plugin.host.hooks.joined_events import joined_events

LOSSES = {"total": torch.tensor(0.5, requires_grad=True), "metric": np.float32(0.25), "count": 3}


def record(folder: Path, joined: bool) -> None:
    keeper, _, writer = get_record_keeper(str(folder / "csvs"), str(folder / "events"))
    for step in (1, 2):
        if joined:
            with joined_events(keeper):
                keeper.update_records(LOSSES, step, input_group_name_for_non_objects="losses")
        else:
            keeper.update_records(LOSSES, step, input_group_name_for_non_objects="losses")
    writer.add_scalar("after", 1, 3)
    writer.close()
    keeper.save_records()


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder / "events")).Reload()
    tags = events.Tags()["scalars"]
    return {tag: [(found.step, found.value) for found in events.Scalars(tag)] for tag in tags}


def test_the_same_is_recorded_in_fewer_events(tmp_path: Path) -> None:
    numbers: dict[bool, int] = {}
    for joined in (False, True):
        folder = tmp_path / str(joined)
        record(folder, joined)
        (path,) = (folder / "events").iterdir()
        numbers[joined] = sum(e.HasField("summary") for e in EventFileLoader(str(path)).Load())
    assert numbers == {False: 7, True: 3}
    points, expected = (scalars(tmp_path / str(joined)) for joined in (True, False))
    assert points == expected
    assert points["losses/metric"] == [(1, 0.25), (2, 0.25)]
    csvs = [
        (tmp_path / str(joined) / "csvs" / "losses.csv").read_text() for joined in (True, False)
    ]
    assert csvs[0] == csvs[1]


def test_what_was_recorded_before_an_error_is_written(tmp_path: Path) -> None:
    keeper, _, writer = get_record_keeper(str(tmp_path / "csvs"), str(tmp_path / "events"))
    losses = {"total": 0.5, "wrong": object()}
    with pytest.raises(NotImplementedError), joined_events(keeper):
        keeper.update_records(losses, 1, input_group_name_for_non_objects="losses")
    writer.close()
    assert scalars(tmp_path) == {"losses/total": [(1, 0.5)]}


@pytest.mark.parametrize("tensorboard", [None, "closed", "no keeper"])
def test_without_an_open_writer_nothing_changes(tensorboard: Any, tmp_path: Path) -> None:
    folder = str(tmp_path / "events") if tensorboard == "closed" else None
    keeper, _, writer = get_record_keeper(str(tmp_path / "csvs"), folder)
    if tensorboard == "closed":
        writer.close()
    with joined_events(None if tensorboard == "no keeper" else keeper):
        keeper.append_data("losses", "total", 0.5, 1)
    if tensorboard == "closed":
        writer.close()
        assert scalars(tmp_path) == {"losses/total": [(1, 0.5)]}
    assert keeper.get_record("losses") == {"total": [0.5]}
