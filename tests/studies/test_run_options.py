import argparse

import pytest

from slade_plugin.errors import ConfigError
from slade_plugin.studies.run_options import (
    add_run_options,
    jobs_and_gpus,
    names,
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
        ([], (1, [])),
        (["--gpus", "0,2"], (2, ["0", "2"])),
        (["--gpus", "0", "--jobs", "4"], (4, ["0"])),
    ],
)
def test_a_job_for_each_gpu_unless_said(words: list[str], expected: tuple[int, list[str]]) -> None:
    assert jobs_and_gpus(parsed(*words)) == expected
    assert parsed(*words).seeds == 3


@pytest.mark.parametrize("flag", ["--seeds", "--jobs"])
def test_less_than_one_is_refused(flag: str) -> None:
    with pytest.raises(ConfigError, match=rf"{flag} is 0; expected 1 or more"):
        jobs_and_gpus(parsed(flag, "0"))
