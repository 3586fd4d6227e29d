import argparse
import sys
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments import studies
from slade_plugin.experiments.studies import execution, ray_execution
from slade_plugin.experiments.studies.run_options import (
    add_run_options,
    names,
    read_executor,
    split_at_dashes,
)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_run_options(parser, seeds=3)
    return parser.parse_args(words)


def test_words_after_the_dashes_are_those_of_every_run() -> None:
    assert split_at_dashes(["a", "--x", "--", "--y", "--", "b"]) == (
        ["a", "--x"],
        ["--y", "--", "b"],
    )
    assert split_at_dashes(("a",)) == (["a"], [])


def test_names_of_several_texts() -> None:
    assert names(["a, b", "", "c,,"]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {"jobs": 1, "gpus": []}),
        (["--gpus", "0,2"], {"jobs": 2, "gpus": ["0", "2"]}),
        (["--gpus", "0", "--jobs", "4", "--executor", "local"], {"jobs": 4, "gpus": ["0"]}),
    ],
)
def test_a_job_for_each_gpu_unless_said(words: list[str], expected: dict[str, Any]) -> None:
    executor = read_executor(parsed(*words))
    assert executor.func is execution.execute
    assert executor.keywords == expected
    assert parsed(*words).seeds == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ray"], {"address": None, "jobs": None}),
        (["ray://h.org:10001", "--jobs", "3"], {"address": "ray://h.org:10001", "jobs": 3}),
        (
            ["10.0.0.1:6379", "--gpus_per_run", "0.5", "--cpus_per_run", "4"],
            {"address": "10.0.0.1:6379", "jobs": None, "gpus": 0.5, "cpus": 4},
        ),
        (["ray", "--gpus_per_run", "0"], {"address": None, "jobs": None, "gpus": 0}),
    ],
)
def test_ray_takes_as_many_as_it_has_room_for(words: list[str], expected: dict[str, Any]) -> None:
    executor = read_executor(parsed("--executor", *words))
    assert executor.func is ray_execution.execute
    assert executor.keywords == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--seeds 0", "--seeds is 0; expected 1 or more"),
        ("--jobs 0", "--jobs is 0; expected 1 or more"),
        ("--executor ray --jobs 0", "--jobs is 0; expected 1 or more"),
        ("--gpus_per_run 0.5", "--gpus_per_run is for Ray; expected it with --executor ray"),
        ("--cpus_per_run 2", "--cpus_per_run is for Ray"),
        ("--executor slurm", "--executor is slurm; expected local, ray, ray://HOST:PORT or HOST"),
        ("--executor ray://host", "--executor is ray://host; expected local"),
        ("--executor ray --gpus 0,1", "--gpus is 0,1; expected --gpus_per_run"),
        ("--executor ray --gpus_per_run -1", "--gpus_per_run is -1; expected a share of one"),
        ("--executor ray --gpus_per_run 1.5", "--gpus_per_run is 1.5; expected a share of one"),
        ("--executor ray --cpus_per_run 0", "--cpus_per_run is 0; expected a share of one"),
    ],
)
def test_mistakes_are_refused(words: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_executor(parsed(*words.split()))


def test_without_ray_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "slade_plugin.experiments.studies.ray_execution")
    monkeypatch.delattr(studies, "ray_execution")
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"--executor ray needs Ray .*slade-plugin\[ray\]"):
        read_executor(parsed("--executor", "ray"))
