"""The same indices and the same draws as without it, and the rest of a pass in another process."""

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from pytorch_metric_learning.samplers import MPerClassSampler
from torch.utils.data import BatchSampler, RandomSampler, WeightedRandomSampler

from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.samplers import ResumableSampler

LABELS = np.arange(5).repeat(4)

SAMPLERS: dict[str, Callable[[], Any]] = {
    "host": lambda: MPerClassSampler(LABELS, m=2, length_before_new_iter=20),
    "shuffled": lambda: RandomSampler(range(20)),
    "with replacement": lambda: RandomSampler(range(20), replacement=True),
    "weighted": lambda: WeightedRandomSampler([1.0, 2.0] * 10, 20),
}


@pytest.fixture(autouse=True)
def keep_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pml_cf, "NUMPY_RANDOM", pml_cf.NUMPY_RANDOM)


def nothing() -> None:
    """Called before a pass."""


def indices_and_draws(sampler: Any) -> list[list[Any]]:
    """Two passes, with a draw from each generator after every index, as transforms draw."""
    seed_everything(0)
    return [
        [
            (int(i), random.random(), np.random.rand(), float(torch.rand(())))  # noqa: NPY002
            for i in sampler
        ]
        for _ in range(2)
    ]


@pytest.mark.parametrize("name", SAMPLERS)
def test_indices_and_draws_are_those_of_the_sampler_inside(name: str) -> None:
    wrapped = ResumableSampler(SAMPLERS[name](), nothing)
    assert indices_and_draws(wrapped) == indices_and_draws(SAMPLERS[name]())
    assert len(wrapped) == 20


def test_nothing_is_drawn_before_the_first_index(stand: Callable[[], Any]) -> None:
    seed_everything(0)
    before = stand()
    iterator = iter(ResumableSampler(SAMPLERS["host"](), nothing))
    assert stand() == before
    next(iterator)
    assert stand() != before


@pytest.mark.parametrize("taken", [1, 7, 19])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_pass_goes_on_where_it_was_left(name: str, taken: int) -> None:
    seed_everything(0)
    sampler = ResumableSampler(SAMPLERS[name](), nothing)
    iterator = iter(sampler)
    for _ in range(taken):
        next(iterator)
    other = ResumableSampler(SAMPLERS[name](), nothing)
    other.load_state_dict(sampler.state_dict())
    rest = [int(i) for i in iterator]
    assert len(rest) == 20 - taken
    assert list(other) == rest
    assert len(list(other)) == 20  # and then a whole pass


def test_a_finished_pass_is_gone_on_with_too() -> None:
    """Its reader has not been told that it is finished, and must not get a new pass instead."""
    sampler = ResumableSampler(range(6), nothing)
    iterator = iter(sampler)
    for _ in range(6):
        next(iterator)
    other = ResumableSampler(range(6), nothing)
    other.load_state_dict(sampler.state_dict())
    assert list(other) == []
    assert list(other) == list(range(6))


def test_before_the_first_pass_there_is_nothing_to_go_on_with() -> None:
    other = ResumableSampler(range(3), nothing)
    other.load_state_dict(ResumableSampler(range(3), nothing).state_dict())
    assert list(other) == [0, 1, 2]


def test_batches_are_taken_whole() -> None:
    """The incomplete batch at the end of a pass is dropped in both runs alike."""

    def batches(sampler: Any) -> Iterator[list[int]]:
        while True:
            yield from BatchSampler(sampler, batch_size=3, drop_last=True)

    seed_everything(0)
    sampler = ResumableSampler(RandomSampler(range(10)), nothing)
    iterator = batches(sampler)
    for _ in range(2):
        next(iterator)
    other = ResumableSampler(RandomSampler(range(10)), nothing)
    other.load_state_dict(sampler.state_dict())
    state = torch.get_rng_state()
    expected = [next(iterator) for _ in range(5)]
    torch.set_rng_state(state)
    found = batches(other)
    assert [next(found) for _ in range(5)] == expected


def test_it_tells_before_anything_is_drawn(stand: Callable[[], Any]) -> None:
    calls: list[str] = []
    sampler = ResumableSampler(SAMPLERS["host"](), lambda: calls.append(stand()))
    iterator = iter(sampler)
    assert calls == []
    before = stand()
    next(iterator)
    assert calls == [before]


def test_its_state_is_read_without_running_code(tmp_path: Any) -> None:
    sampler = ResumableSampler(SAMPLERS["host"](), nothing)
    next(iter(sampler))
    torch.save(sampler.state_dict(), tmp_path / "state.pth")
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    assert state["rest"].tolist() == sampler.state_dict()["rest"].tolist()
