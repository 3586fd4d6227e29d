import argparse
from pathlib import Path
from typing import Any

import pytest
import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.model_arguments import (
    add_model_flags,
    add_reading_flags,
    read_embedder,
)


def read(*words: str, experiment: Path = Path("nowhere")) -> Any:
    parser = argparse.ArgumentParser()
    add_model_flags(parser)
    add_reading_flags(parser)
    args = parser.parse_args(words)
    args.experiment = experiment
    return read_embedder(args)


def test_the_flags_choose_the_model(finished: Path) -> None:
    scheme = "Test50_50_Partitions2_1"
    embedder = read("--split_scheme", scheme, "--device", "cpu", experiment=finished)
    assert embedder.record["split_schemes"] == [scheme]
    assert embedder.device == torch.device("cpu")
    assert len(read("--ensemble", experiment=finished).record["split_schemes"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch_size", "0"], "--batch_size is 0"),
        (["--workers", "-1"], "--workers is -1"),
        (["--device", "abacus"], "--device is 'abacus': .*; expected a device"),
        (["--device", "cuda:99"], "--device is 'cuda:99': .*; expected a device"),
    ],
)
def test_wrong_flags_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(*words)
