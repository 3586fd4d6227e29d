"""Estimate how long runs take, from a short probe of their models on this machine.

The probe times training steps and forward passes of trunk and embedder on random images. What it
leaves out: losses, miners, k-means, nearest-neighbor search, decoding of images (a GPU may wait
for it), and lengths that early stopping decides, for which the longest is taken.
"""

import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from powerful_benchmarker.factories import ModelFactory
from torch import nn

from slade_plugin.stages.kinds import PLAIN, TEACHER
from slade_plugin.stages.stage import most_epochs

_WEIGHTS = ("weights", "pretrained")  # arguments of trunks that load a file
_CPU_PIXELS = 4 * 227**2  # at most in a probe on a CPU; larger steps cost in proportion
_GENERATED = {  # images of the data sets made by `slade-bench build`
    "Glyphs": {"labeled": 18_261, "unlabeled": 15_072},
    "Icons": {"labeled": 6_116, "unlabeled": 15_083},
    "Furniture": {"labeled": 4_680, "unlabeled": 4_716},
}
_TRAINED, _VALIDATED, _TESTED = 3 / 8, 1 / 8, 1 / 2  # shares of the labeled images (MLRC's splits)


@dataclass(frozen=True)
class Seconds:
    """Seconds per image in a training step and in a forward pass."""

    train: float
    forward: float


class Probe:
    """Timing of each model, once: wall time on a GPU, CPU time of one core on a CPU.

    Args:
        getter: The runner's getter of classes.
        device: Such as "cuda" or "cpu".
        steps: Timed steps; one more warms up.
    """

    def __init__(self, getter: Any, device: str, steps: int = 3) -> None:
        self.getter = getter
        self.device = device
        self.steps = steps
        self.known: dict[str, Seconds] = {}
        self._clock = time.perf_counter if device == "cuda" else time.process_time

    def __call__(self, args: Any) -> Seconds:
        """Measure seconds per image for the model, image size and batch size of a config.

        Args:
            args: Merged config of an experiment.
        """
        trainer = next(iter(args.trainer.values()))
        batch = trainer["batch_size"] + trainer.get("unlabeled_batch_size", 0)
        specs = {name: _without_weights(spec) for name, spec in args.models.items()}
        size = image_size(args.transforms)
        key = json.dumps([specs, size, batch], sort_keys=True, default=str)
        if key not in self.known:
            self.known[key] = self._measure(specs, size, batch)
        return self.known[key]

    def _measure(self, specs: Mapping[str, Any], size: int, batch: int) -> Seconds:
        factory = ModelFactory(getter=self.getter)
        trunk = factory.create(named_specs={"trunk": specs["trunk"]}, subset="trunk")
        embedder = factory.create(named_specs={"embedder": specs["embedder"]}, subset="embedder")
        model = nn.Sequential(trunk, embedder).to(self.device)
        most = batch if self.device == "cuda" else max(1, _CPU_PIXELS // size**2)
        count = min(batch, most)
        channels = len(getattr(trunk, "mean", "RGB"))  # some have it only with their weights
        images = torch.randn(count, channels, size, size, device=self.device)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

        def step() -> None:
            optimizer.zero_grad()
            model(images).square().mean().backward()
            optimizer.step()

        train = self._time(step) / count
        with torch.no_grad():
            return Seconds(train, self._time(lambda: model.eval()(images)) / count)

    def _time(self, work: Callable[[], object]) -> float:
        """Return the minimum seconds of `work` over all steps, since other load only adds."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # waiting threads would count as busy
        seconds = []
        try:
            for _ in range(self.steps + 1):
                self._wait()
                started = self._clock()
                work()
                self._wait()
                seconds.append(self._clock() - started)
        finally:
            torch.set_num_threads(threads)
        return min(seconds[1:])

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def run_hours(
    stages: Mapping[str, Any], images: Mapping[str, int], probe: Callable[[Any], Seconds]
) -> float | None:
    """Estimate the hours of one run on the probed device: the GPU, or one core of the CPU.

    None where a config leaves the steps of an epoch open.

    Args:
        stages: Merged configs of the experiments that are trained, by name.
        images: What `count_images` gave for the data of these configs.
        probe: Gives seconds an image for a config.
    """
    labeled, pool = images["labeled"], images["pool"]
    total = 0.0
    for args in stages.values():
        trainer = next(iter(args.trainer.values()))
        if trainer.get("iterations_per_epoch") is None:
            return None
        seconds = probe(args)
        batch = trainer["batch_size"] + trainer.get("unlabeled_batch_size", 0)
        epochs = most_epochs(args)
        steps = epochs * trainer["iterations_per_epoch"]
        evaluations = epochs // args.save_interval
        evaluated = labeled * (evaluations * _VALIDATED + 2 * _TESTED + _VALIDATED)  # and ensemble
        total += steps * batch * seconds.train + evaluated * seconds.forward
    if PLAIN not in stages:
        total += pool * seconds.forward  # pseudo labels
        settings = getattr(args, "self_supervised", None)
        if settings and TEACHER in stages:  # students of a given teacher use its trunks
            views = settings["views"]
            of_full_size = sum(
                count * (size / image_size(args.transforms)) ** 2
                for size, count in zip(views["crop_sizes"], views["crop_counts"], strict=True)
            )
            trained = (labeled * _TRAINED + pool) * settings["num_epochs"]
            total += trained * of_full_size * seconds.train
    return total * images["split_schemes"] / 3600


def count_images(args: Any, getter: Any) -> dict[str, int] | None:
    """Count labeled images, pool images and split schemes, without reading the files.

    Args:
        args: Merged config of an experiment.
        getter: The runner's getter of classes.

    Returns:
        As published, of a pool with ``min_images_per_class: match`` as its paper has it; None for
        data sets of which nothing is published, and for splits that are not MLRC's.
    """
    labeled = _published(args.dataset, getter)
    pool_spec = getattr(args, "unlabeled_dataset", None)
    pool = _published(pool_spec, getter) if pool_spec else 0
    schemes = (next(iter(args.split_manager.values())) or {}).get("num_training_sets")
    if labeled is None or pool is None or schemes is None:
        return None
    return {"labeled": labeled, "pool": pool, "split_schemes": schemes}


def _published(spec: Mapping[str, Any], getter: Any) -> int | None:
    ((name, arguments),) = spec.items()
    arguments = arguments or {}
    if name in _GENERATED:
        return _GENERATED[name].get(arguments.get("subset", "labeled"))
    cls = getter.get("dataset", class_name=name, return_uninitialized=True)[0]
    matched = arguments.get("min_images_per_class") == "match"
    counts = getattr(cls, "matched" if matched else "published", None)
    return counts.images if counts else None


def image_size(transforms: Mapping[str, Any]) -> int:
    """Return the longer side after the transforms in pixels; 32 without any (Glyphs)."""
    specs = (transforms["train"] or {}).values()
    sizes = [spec["size"] for spec in specs if "size" in (spec or {})]
    return int(np.max(sizes[-1])) if sizes else 32


def _without_weights(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model with random weights, so that a probe needs no download."""
    model = copy.deepcopy(dict(spec))
    for arguments in model.values():
        for name in _WEIGHTS:
            if name in (arguments or {}):
                arguments[name] = None
    return model
