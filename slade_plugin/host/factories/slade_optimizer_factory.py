"""Build optimizers, learning-rate schedulers and gradient clippers from the config.

Differs from powerful-benchmarker's ``OptimizerFactory``:

- schedulers work: their keys are ``<model or loss>_scheduler_by_epoch`` (``_by_iteration``,
  ``_by_plateau``), as the trainer requires, and the config is not modified, so the second split
  scheme also gets its schedulers;
- a scheduler with an argument ``num_epochs`` gets the length of the training;
- ``clip_grad_norm`` works: the clipper keeps a list of parameters, not an exhausted generator;
- a loss with trainable parameters must have an optimizer, or it would silently never be trained;
- errors name the place in the config.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from powerful_benchmarker.factories import OptimizerFactory

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.config import lookup

logger = logging.getLogger(__name__)

OPTIMIZER_SUFFIX = "_optimizer"
BY_EPOCH = "scheduler_by_epoch"
SCHEDULER_KEYS = ("scheduler_by_iteration", BY_EPOCH, "scheduler_by_plateau")
NUM_EPOCHS = "num_epochs"  # the argument by which a scheduler asks for num_epochs_train
CLIP_KEY = "clip_grad_norm"

ParameterSources = Sequence[Mapping[str, torch.nn.Module]]


class SladeOptimizerFactory(OptimizerFactory):
    """Build the entries of ``optimizers``; used as the factory ``optimizer``."""

    def create(
        self,
        specs: object = None,
        named_specs: Mapping[str, object] | None = None,
        subset: object = None,
        kwargs: Mapping[str, Any] | None = None,
        per_name_kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Check that keys and modules match, then build every entry as the host does.

        Returns:
            Dicts of optimizers, schedulers and gradient clippers, keyed as the trainer requires.

        Raises:
            ConfigError: If a key matches no model or loss, or a loss with trainable parameters
                has no entry.
        """
        if specs is None:
            check_optimizer_keys(named_specs or {}, (kwargs or {}).get("param_sources", ()))
        return super().create(specs, named_specs, subset, kwargs, per_name_kwargs)

    def _create_general(
        self,
        optimizer_type: Mapping[str, Any],
        k: str,
        param_sources: ParameterSources,
        num_epochs: int | None = None,
    ) -> dict[str, Any]:
        where = f"optimizers.{k}"
        name = k.removesuffix(OPTIMIZER_SUFFIX)
        module = next(source[name] for source in param_sources if name in source)
        if not isinstance(optimizer_type, Mapping):
            # Raises an error that shows the form of an entry.
            lookup.resolve(self.getter, "optimizer", optimizer_type, where)
        spec = copy.deepcopy(dict(optimizer_type))
        schedulers = {key: spec.pop(key, None) for key in SCHEDULER_KEYS}
        max_norm = spec.pop(CLIP_KEY, None)
        cls, arguments = lookup.resolve(self.getter, "optimizer", spec, where)
        lookup.check_arguments(cls, arguments, where, provided=("params",))
        lookup.check_numbers(arguments, f"{where}.{cls.__name__}")
        for key, scheduler in schedulers.items():
            if scheduler is not None:
                schedulers[key] = self._checked_scheduler(scheduler, f"{where}.{key}", num_epochs)
                _warn_about_plateau(scheduler, f"{where}.{key}")
        parameters = list(module.parameters())
        if not parameters:
            raise ConfigError(
                f"{where}: {name!r} has no parameters, so there is nothing to optimize; remove "
                f"{k} from optimizers (config_optimizers), e.g. with --optimizers {{{k}~DELETE~: }}"
            )
        with lookup.constructor_errors(next(iter(spec)), where):
            optimizer, built, _ = self.getter.get_optimizer(module, yaml_dict=spec | schedulers)
        logger.info("%s\n%s", k, optimizer)
        output: dict[str, Any] = {"optimizer": optimizer}
        if built:
            output["lr_scheduler"] = {f"{name}_{key}": value for key, value in built.items()}
        if max_norm is not None:
            clipper = _gradient_clipper(parameters, max_norm, f"{where}.{CLIP_KEY}")
            output["gradient_clipper"] = {f"{name}_grad_clipper": clipper}
        return output

    def format_named_specs_output(
        self, named_specs_output: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Group the built objects into optimizers, schedulers and gradient clippers."""
        optimizers: dict[str, Any] = {}
        lr_schedulers: dict[str, Any] = {}
        gradient_clippers: dict[str, Any] = {}
        for key, built in named_specs_output.items():
            optimizers[key] = built["optimizer"]
            lr_schedulers.update(built.get("lr_scheduler", {}))
            gradient_clippers.update(built.get("gradient_clipper", {}))
        return optimizers, lr_schedulers, gradient_clippers

    def _checked_scheduler(
        self, spec: object, where: str, num_epochs: int | None
    ) -> dict[str, dict[str, Any]]:
        """Reject an invalid scheduler; add the training length if the scheduler takes it."""
        cls, arguments = lookup.resolve(self.getter, "lr_scheduler", spec, where)
        lookup.check_arguments(cls, arguments, where, provided=("optimizer", NUM_EPOCHS))
        lookup.check_numbers(arguments, f"{where}.{cls.__name__}")
        if NUM_EPOCHS in lookup.constructor(cls).names:
            if not where.endswith(BY_EPOCH):
                raise ConfigError(
                    f"{where}: {cls.__name__} counts epochs; expected it under {BY_EPOCH} "
                    "(config_optimizers)"
                )
            arguments.setdefault(NUM_EPOCHS, num_epochs)
        return {cls.__name__: arguments}


def check_optimizer_keys(
    named_specs: Mapping[str, object], param_sources: ParameterSources
) -> None:
    """Reject optimizers without a module and losses without an optimizer.

    A model without an optimizer is allowed, since a trunk may be frozen. A loss whose parameters
    are never updated is not, since the host would not report it.

    Args:
        named_specs: The entries of ``optimizers``, ``<name>_optimizer: {...}``.
        param_sources: The trainer's models, then its losses.

    Raises:
        ConfigError: Naming the entry to change, or the one to add.
    """
    valid = [
        name + OPTIMIZER_SUFFIX
        for source in param_sources
        for name, module in source.items()
        if any(True for _ in module.parameters())
    ]
    names = {name for source in param_sources for name in source}
    for key in named_specs:
        if not key.endswith(OPTIMIZER_SUFFIX) or key.removesuffix(OPTIMIZER_SUFFIX) not in names:
            raise ConfigError(
                f"optimizers.{key} belongs to no model and no loss{nearest(key, valid)}; "
                f"expected {', '.join(valid)}. Change it in config_optimizers"
            )
    for losses in param_sources[1:]:
        for name, loss in losses.items():
            trainable = [p for p in loss.parameters() if p.requires_grad]
            if trainable and name + OPTIMIZER_SUFFIX not in named_specs:
                raise ConfigError(
                    f"loss_funcs.{name} ({type(loss).__name__}) has {len(trainable)} trainable "
                    f"parameter(s) and no optimizer, so it would never be trained; add "
                    f"{name}{OPTIMIZER_SUFFIX} to optimizers (config_optimizers), in the form of "
                    f"trunk{OPTIMIZER_SUFFIX}"
                )
    if not named_specs:
        raise ConfigError(
            "optimizers is empty, so nothing would be trained; add one of "
            f"{', '.join(valid)} (config_optimizers)"
        )


def _gradient_clipper(
    parameters: Sequence[torch.nn.Parameter], max_norm: object, where: str
) -> Callable[[], torch.Tensor]:
    """Create a function that clips the gradients in place to a total norm of `max_norm`."""
    if isinstance(max_norm, bool) or not isinstance(max_norm, int | float) or not max_norm > 0:
        lookup.check_numbers({CLIP_KEY: max_norm}, where.removesuffix(f".{CLIP_KEY}"))
        raise ConfigError(f"{where} is {max_norm!r}, expected a number > 0")
    limit = float(max_norm)

    def clip() -> torch.Tensor:
        return torch.nn.utils.clip_grad_norm_(parameters, limit)

    return clip


def _warn_about_plateau(spec: Mapping[str, Any], where: str) -> None:
    """Warn if a plateau scheduler would reduce the learning rate while accuracy rises."""
    for name, arguments in spec.items():
        if name == "ReduceLROnPlateau" and (arguments or {}).get("mode", "min") != "max":
            logger.warning(
                "%s: ReduceLROnPlateau is stepped with the validation accuracy (larger is better) "
                "but its mode is min; write mode: max",
                where,
            )
