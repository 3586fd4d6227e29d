"""One seed for every generator a run draws from.

The host seeds nothing, and its samplers and miners draw from a generator of their own
(``pytorch_metric_learning.utils.common_functions.NUMPY_RANDOM``) that it replaces by an unseeded
one when an API parser is made.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seeds python, numpy, torch (all devices) and the host's own generator.

    Equal records follow only for an equal number of data-loading workers and torch threads.

    Args:
        seed: Any integer from 0 to 2**32 - 1.
    """
    import pytorch_metric_learning.utils.common_functions as pml_cf

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - sklearn and torchvision draw from the global generator
    torch.manual_seed(seed)
    pml_cf.NUMPY_RANDOM = np.random.RandomState(seed)


def derive_seed(seed: int, *parts: int) -> int:
    """A seed for one part of a run (split scheme, epoch to resume at), 0 to 2**32 - 1.

    Different parts give unrelated streams, the same parts always the same one.
    """
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1)[0])


def generator_states() -> dict[str, Any]:
    """The states of all generators that `seed_everything` sets."""
    import pytorch_metric_learning.utils.common_functions as pml_cf

    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - the global generator is the one to report
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "host": pml_cf.NUMPY_RANDOM.get_state(),
    }


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Sets all generators to states that `generator_states` gave.

    Those of GPUs are set only if there are as many as when the states were taken.
    """
    import pytorch_metric_learning.utils.common_functions as pml_cf

    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002 - the global generator
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
    pml_cf.NUMPY_RANDOM.set_state(states["host"])
