"""One seed for every generator that a run uses.

The host seeds nothing. Its samplers and miners use their own generator
(``pytorch_metric_learning.utils.common_functions.NUMPY_RANDOM``), which the host replaces by an
unseeded one when it creates an API parser.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed python, numpy, torch (all devices) and the host's own generator.

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
    """Derive a seed in [0, 2**32) for one part of a run (split scheme, epoch to resume at).

    Different parts give unrelated streams; the same parts always give the same one.
    """
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1)[0])


def generator_states() -> dict[str, Any]:
    """Return the states of all generators that `seed_everything` sets."""
    import pytorch_metric_learning.utils.common_functions as pml_cf

    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - the global generator is the one to report
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
        "host": pml_cf.NUMPY_RANDOM.get_state(),
    }


def set_generator_states(states: Mapping[str, Any]) -> None:
    """Restore the states that `generator_states` returned.

    GPU states are restored only if the number of GPUs is the same.
    """
    import pytorch_metric_learning.utils.common_functions as pml_cf

    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002 - the global generator
    torch.set_rng_state(states["torch"].cpu())
    if len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([state.cpu() for state in states["cuda"]])
    pml_cf.NUMPY_RANDOM.set_state(states["host"])
