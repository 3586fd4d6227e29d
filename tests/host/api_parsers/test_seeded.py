"""Each split scheme has a stream of its own, and errors keep their text."""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from powerful_benchmarker.api_parsers import BaseAPIParser

from slade_plugin.base.errors import DataError, ExperimentError
from slade_plugin.base.seeding import seed_everything
from slade_plugin.host.api_parsers.seeded import seeded


class Host:
    """The part of the host's API parser that matters here; it draws when it sets up a scheme."""

    def __init__(self, seed: int = 0, epoch: int = 1, error: Exception | None = None) -> None:
        """An API parser."""
        pml_cf.NUMPY_RANDOM = np.random.RandomState()
        self.args = SimpleNamespace(seed=seed)
        self.resume_at = epoch
        self.error = error
        self.curr_split_count = 0
        self.set_up: list[list[float]] = []

    def set_models_optimizers_losses(self) -> None:
        self.set_up.append(draw())
        self.epoch = self.resume_at

    def is_training(self) -> bool:
        return False

    def run_for_each_split_scheme(self) -> str:
        if self.error is not None:
            raise self.error
        return "done"


@pytest.fixture(autouse=True)
def keep_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pml_cf, "NUMPY_RANDOM", pml_cf.NUMPY_RANDOM)


def draw() -> list[float]:
    return [float(torch.rand(())), pml_cf.NUMPY_RANDOM.rand()]


def stream(scheme: int, seed: int = 0, epoch: int = 1, draws_before: int = 0) -> Any:
    """What a scheme draws while it is set up, and then in training."""
    parser: Any = seeded(Host)(seed=seed, epoch=epoch)
    parser.curr_split_count = scheme
    for _ in range(draws_before):
        draw()
    parser.set_models_optimizers_losses()
    return parser.set_up[0], draw()


def test_it_is_a_subclass_with_the_same_name_and_docstring() -> None:
    cls = seeded(Host)
    assert issubclass(cls, Host)
    assert (cls.__name__, cls.__doc__) == ("Host", Host.__doc__)


def test_a_parser_is_seeded_when_made() -> None:
    """After the host's constructor, which puts an unseeded generator in place."""
    seeded(Host)(seed=5)
    first = draw()
    seeded(Host)(seed=5)
    assert draw() == first
    seed_everything(5)
    assert draw() == first


def test_a_scheme_stands_alone() -> None:
    """Whatever was drawn before: one fold alone gives what it gives in a run of four."""
    assert stream(2) == stream(2, draws_before=7)


def test_a_scheme_has_the_seed_of_the_run_plus_its_number() -> None:
    """As documented: set-up and training draw from one stream, which anyone can make again."""
    seed_everything(7)
    expected = draw(), draw()
    assert stream(2, seed=5) == stream(0, seed=7) == expected


def test_schemes_and_seeds_differ() -> None:
    streams = [stream(0), stream(1), stream(2), stream(0, seed=10), stream(0, seed=2**32 - 1)]
    assert len({repr(s) for s in streams}) == len(streams)


def test_the_largest_seed_is_taken_for_every_scheme() -> None:
    assert stream(3, seed=2**32 - 1) == stream(3, seed=2**32 - 1)


def test_a_resumed_scheme_does_not_repeat_its_first_batches() -> None:
    """It is set up as before, so that the same parts are made, and then goes on elsewhere."""
    (set_up, training), (set_up_again, resumed) = stream(1), stream(1, epoch=4)
    assert set_up_again == set_up
    assert resumed != training
    assert stream(1, epoch=4)[1] == resumed
    assert stream(1, epoch=5)[1] != resumed
    assert stream(2, epoch=4)[1] != resumed


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["Input contains NaN.", "n_splits=4 is too large"])
def test_trap_a3_a_value_error_keeps_its_text(text: str) -> None:
    """The host reports an accuracy of 0 for the first and drops the text of the second."""
    original = ValueError(text)
    with pytest.raises(ExperimentError) as caught:
        seeded(Host)(error=original).run_for_each_split_scheme()
    assert text in str(caught.value)
    assert caught.value.__cause__ is original


@pytest.mark.parametrize("error", [DataError("d"), RuntimeError("r"), KeyboardInterrupt()])
def test_other_errors_pass(error: Any) -> None:
    with pytest.raises(type(error)) as caught:
        seeded(Host)(error=error).run_for_each_split_scheme()
    assert caught.value is error


def test_trap_a3_a_run_that_diverges_is_an_error(
    tmp_path: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
    full_getter: Any,
    blobs: Any,
) -> None:
    """The host alone would log it, return 0 and let the pipeline go on."""

    class DamagedBlobs(blobs):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.points[:] = float("nan")

    full_getter.register("dataset", DamagedBlobs)
    args = experiment_args(tmp_path / "run", student=False, dataset={"DamagedBlobs": {}})
    with pytest.raises(ExperimentError, match=r"the run stopped: Input contains NaN"):
        make_parser(args, BaseAPIParser).run()
