"""State that the host omits from checkpoints but an exact resume needs.

The host saves weights, buffers, optimizers and schedulers. This adds the states of all generators,
the rest of each sampler's pass over the data, and plain attributes of samplers, losses and miners
(the order of a sampler's classes, a loss's memory of earlier batches).

Exact with `dataloader_num_workers: 0` and equal numbers of torch threads: worker processes have
their own generators and prefetch.
"""

from typing import Any

import numpy as np
import torch
from torch.utils.data import RandomSampler

from slade_plugin.base.seeding import generator_states, set_generator_states
from slade_plugin.data.samplers import ResumableSampler

NAME = "training_state"  # of the file, and of the trainer's attribute

_SAMPLED = {"sampler": "dataset", "unlabeled_sampler": "unlabeled_dataset"}
_MODULES = ("loss_funcs", "mining_funcs")
_ARRAY = "numpy array"


class TrainingState:
    """State of a trainer other than its models, in the form that the host's hooks save.

    The generators are set when the first batch is drawn, not when the state is loaded: steps in
    between, such as creating a data loader's iterator, did not happen in the run being resumed.

    Args:
        trainer: A trainer of the host or ours; its samplers are replaced by `ResumableSampler`s.
            A sampler without a length stays and restarts when a run is resumed.
    """

    def __init__(self, trainer: Any) -> None:
        self._samplers: dict[str, ResumableSampler] = {}
        self._objects: dict[str, Any] = {}
        self._generators: dict[str, Any] | None = None
        for name, dataset in _SAMPLED.items():
            if hasattr(trainer, name):
                self._take_over(trainer, name, dataset)
        for group in _MODULES:
            for name, module in (getattr(trainer, group, None) or {}).items():
                for path, part in module.named_modules():
                    self._objects[f"{group}.{name}.{path}"] = part
        self._initial = {name: _attributes(part) for name, part in self._objects.items()}

    def _take_over(self, trainer: Any, name: str, dataset: str) -> None:
        sampler = getattr(trainer, name)
        if sampler is None:  # what the host's loader does then
            sampler = RandomSampler(getattr(trainer, dataset))
        if hasattr(sampler, "__len__"):
            self._objects[name] = sampler
            self._samplers[name] = ResumableSampler(sampler, self.set_generators)
            setattr(trainer, name, self._samplers[name])

    def state_dict(self) -> dict[str, Any]:
        """Return everything as tensors and plain values.

        Only attributes that training has changed are included: the config of a resumed run may
        change others. If a state was loaded and nothing drawn since, the generators are set first:
        this is the untrained model, which the host saves again when a run starts from it.
        """
        self.set_generators()
        attributes = {}
        for name, part in self._objects.items():
            initial, missing = self._initial[name], object()
            changed = {
                key: value
                for key, value in _attributes(part).items()
                if not _equal(value, initial.get(key, missing))
            }
            if changed:
                attributes[name] = {"class": type(part).__name__, "attributes": changed}
        return {
            "generators": {name: _plain(s) for name, s in generator_states().items()},
            "samplers": {name: s.state_dict() for name, s in self._samplers.items()},
            "attributes": attributes,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a state; parts whose class has changed are ignored."""
        for name, sampler in self._samplers.items():
            if name in state["samplers"]:
                sampler.load_state_dict(state["samplers"][name])
        for name, saved in state["attributes"].items():
            part = self._objects.get(name)
            if type(part).__name__ == saved["class"]:
                vars(part).update({k: _restored(v) for k, v in saved["attributes"].items()})
        self._generators = _restored(state["generators"])

    def set_generators(self) -> None:
        """Set the generators to the loaded state, once."""
        if self._generators is not None:
            set_generator_states(self._generators)
            self._generators = None


def _attributes(part: Any) -> dict[str, Any]:
    """Copy the attributes that are numbers, strings, tensors, arrays or lists of these.

    This excludes parameters and buffers, which are in a module's dicts, and its training mode,
    which the trainer sets.
    """
    found = {key: _plain(value) for key, value in vars(part).items() if key != "training"}
    return {key: value for key, value in found.items() if value is not _NOT_PLAIN}


_NOT_PLAIN = object()


def _plain(value: Any) -> Any:
    """Copy into a form that `torch.load` reads without running code, or return `_NOT_PLAIN`."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return {_ARRAY: torch.from_numpy(value.copy())}
    if type(value) in (list, tuple):
        items = [_plain(item) for item in value]
        return _NOT_PLAIN if any(item is _NOT_PLAIN for item in items) else type(value)(items)
    return _NOT_PLAIN


def _restored(value: Any) -> Any:
    """Invert `_plain`."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY}:
            return value[_ARRAY].cpu().numpy()
        return {key: _restored(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_restored(item) for item in value)
    return value


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        alike = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
        return alike and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b or (a != a and b != b))  # NaN
