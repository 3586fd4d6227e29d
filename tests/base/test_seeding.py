import random
from typing import Any

import numpy as np
import pytest
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
from pytorch_metric_learning.samplers import MPerClassSampler

from slade_plugin.base.seeding import (
    derive_seed,
    generator_states,
    seed_everything,
    set_generator_states,
)


@pytest.fixture(autouse=True)
def keep_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pml_cf, "NUMPY_RANDOM", pml_cf.NUMPY_RANDOM)


def draw() -> dict[str, Any]:
    """Something from each generator a run draws from."""
    return {
        "python": random.random(),
        "numpy": float(np.random.rand()),  # noqa: NPY002 - this is the one to be seeded
        "torch": float(torch.rand(())),
        "sampler": list(MPerClassSampler(np.arange(6).repeat(4), m=2, length_before_new_iter=24)),
    }


def test_equal_seeds_give_equal_draws_of_every_generator() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(3)
    assert draw() == first


def test_other_seeds_give_other_draws_of_every_generator() -> None:
    seed_everything(3)
    first = draw()
    seed_everything(4)
    second = draw()
    assert [name for name in first if first[name] == second[name]] == []


def test_the_hosts_generator_is_replaced_not_shared_with_numpy() -> None:
    """Trap D1 of the host: seeding np.random does not reach its samplers."""
    seed_everything(0)
    assert isinstance(pml_cf.NUMPY_RANDOM, np.random.RandomState)
    before = generator_states()["numpy"]
    pml_cf.NUMPY_RANDOM.rand(10)
    np.testing.assert_array_equal(generator_states()["numpy"][1], before[1])


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_ends_of_the_range_are_taken(seed: int) -> None:
    seed_everything(seed)
    first = draw()
    seed_everything(seed)
    assert draw() == first


def test_states_are_those_of_all_four_generators() -> None:
    """A draw from one generator changes its own state and no other."""

    def flat(states: dict[str, Any]) -> dict[str, str]:
        return {
            name: repr(state.tolist() if torch.is_tensor(state) else _plain(state))
            for name, state in states.items()
        }

    def _plain(state: Any) -> Any:
        return [x.tolist() if isinstance(x, np.ndarray) else x for x in state]

    seed_everything(0)
    draws = {
        "python": random.random,
        "numpy": np.random.rand,
        "torch": lambda: torch.rand(()),
        "host": lambda: pml_cf.NUMPY_RANDOM.rand(),
    }
    assert set(generator_states()) == {*draws, "cuda"}  # whose list is empty without a GPU
    for name, draw_one in draws.items():
        before = flat(generator_states())
        draw_one()
        after = flat(generator_states())
        assert [n for n in before if before[n] != after[n]] == [name]


def test_states_can_be_set_again() -> None:
    seed_everything(0)
    draw()
    states = generator_states()
    first = draw()
    draw()
    set_generator_states(states)
    assert draw() == first


def test_derived_seeds_depend_on_every_part_and_on_their_order() -> None:
    parts = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 1, 2), (0, 2, 1), (1, 1, 2)]
    seeds = [derive_seed(*part) for part in parts]
    assert len(set(seeds)) == len(seeds)
    assert [derive_seed(*part) for part in parts] == seeds


def test_derived_seeds_can_be_seeds() -> None:
    for part in range(50):
        seed = derive_seed(2**32 - 1, part)
        seed_everything(seed)  # numpy takes no larger one
        assert torch.initial_seed() == seed
