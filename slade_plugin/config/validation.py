"""Everything wrong with a config, at once, before anything is trained.

The host takes unknown keys silently and meets wrong values in the middle of a run. What only shows
when the parts are built is left to `slade_plugin.self_training.preflight`.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from slade_plugin.config.lookup import check_arguments, find_class, nearest
from slade_plugin.errors import ConfigError

STAGE_PREFIXES = ("teacher.", "baseline.", "every.")

# Keys of a config, the host's and ours. The host reads no others.
HOST_KEYS = frozenset(
    """dataset splits_to_eval split_manager tester aggregator ensemble hook_container factories
    api_parser trainer num_epochs_train save_interval patience check_untrained_accuracy
    skip_eval_if_already_done skip_ensemble_eval_if_already_done log_data_to_tensorboard
    save_figures_on_tensorboard save_lists_in_db override_required_compatible_factories loss_funcs
    sampler mining_funcs models optimizers transforms""".split()
)
OUR_KEYS = frozenset(
    """brings seed pipeline pseudo_labels student_initialization teacher_experiment
    unlabeled_dataset unlabeled_sampler""".split()
)
_RUN_FLAGS = frozenset(
    """pytorch_home dataset_root root_experiment_folder root_config_folder global_db_path
    merge_argparse_when_resuming bayes_opt_iters reproductions list debug""".split()
)
_KEYWORD = re.compile(r"~(?:OVERRIDE|DELETE|APPLY|SWAP|BAYESIAN|LOG_BAYESIAN|INT_BAYESIAN)~\d*$")


def plain_key(key: str) -> str:
    """A key without the host's keyword: ``trainer~APPLY~2`` is ``trainer``."""
    return _KEYWORD.sub("", key)


def check_command_line(
    unknown_args: Iterable[str], args: Mapping[str, Any], areas: Iterable[str]
) -> None:
    """Checks the flags that the argument parser passed on as config keys.

    Raises:
        ConfigError: Naming every flag that is no key of any config, with the nearest one.
    """
    areas = list(areas)
    known = HOST_KEYS | OUR_KEYS | _RUN_FLAGS | set(areas) | set(args_of_parser())
    problems = []
    for flag in (a for a in unknown_args if re.match("--[a-zA-Z]", a)):
        key = plain_key(flag[2:])
        for prefix in STAGE_PREFIXES:
            key = key.removeprefix(prefix)
        if key not in known:
            problems.append(f"{flag} is no flag and no key of a config{nearest(key, known)}")
    if problems:
        raise ConfigError("; ".join(problems) + ". run.py --list prints the configs.")


def args_of_parser() -> tuple[str, ...]:
    """Names that the argument parser itself puts beside the config's keys."""
    return (
        "experiment_name",
        "resume_training",
        "evaluate",
        "evaluate_ensemble",
        "reproduce_results",
        "experiment_folder",
        "place_to_save_configs",
        "config_foldernames",
        "dict_of_yamls",
    )


def check_args(args: Any, getter: Any) -> None:
    """Checks a merged config: keys, types, ranges, class names and their arguments.

    Args:
        args: The namespace the host makes of YAML files and command line.
        getter: The runner's `pytorch_getter`, which knows every registered class.

    Raises:
        ConfigError: Naming everything that is wrong.
    """
    problems = [
        *_unknown_keys(vars(args)),
        *_numbers(args),
        *_evaluation(args),
        *_classes(args, getter),
    ]
    if problems:
        raise ConfigError("\n  ".join(["the config is wrong:", *problems]))


def _unknown_keys(args: Mapping[str, Any]) -> list[str]:
    known = HOST_KEYS | OUR_KEYS
    loaded = {k for area in (args.get("dict_of_yamls") or {}).values() for k in area}
    areas = set(args.get("config_foldernames") or ())
    return [
        f"{key} is no key of a config{nearest(key, known)}"
        for key in sorted(map(plain_key, loaded))
        if key not in known | areas | {"config_foldernames"}
    ]


def _numbers(args: Any) -> list[str]:
    problems = []
    for name, low in {"num_epochs_train": 1, "save_interval": 1, "patience": 0}.items():
        value = getattr(args, name, low)
        if (value is None and name == "patience") or isinstance(value, dict):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            problems.append(f"{name} is {value!r}; expected an integer >= {low} (config_general)")
    seed = getattr(args, "seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        problems.append(f"seed is {seed!r}; expected 0 to {2**32 - 1} (--seed)")
    epochs, interval = (getattr(args, k, 1) for k in ("num_epochs_train", "save_interval"))
    if not problems and isinstance(epochs, int) and interval > epochs:
        problems.append(
            f"save_interval is {interval}, above num_epochs_train {epochs}: no epoch would be "
            f"evaluated; expected 1 to {epochs} (config_general)"
        )
    return problems


def _evaluation(args: Any) -> list[str]:
    problems = []
    splits = getattr(args, "splits_to_eval", None)
    known = ["train", "val", "test"]
    if not isinstance(splits, list) or not splits:
        return [f"splits_to_eval is {splits!r}; expected a list such as [val] (config_dataset)"]
    problems += [
        f"splits_to_eval holds {s!r}{nearest(str(s), known)}; expected train, val or test"
        for s in splits
        if s not in known
    ]
    training = not (getattr(args, "evaluate", False) or getattr(args, "evaluate_ensemble", False))
    hooks = next(iter((getattr(args, "hook_container", None) or {"": {}}).values())) or {}
    validation = hooks.get("validation_split_name", "val")
    if training and validation not in splits:
        problems.append(
            f"splits_to_eval is {splits}, without {validation}: the best model could not be "
            f"chosen; expected {validation} among them (config_dataset)"
        )
    return problems


def _classes(args: Any, getter: Any) -> list[str]:
    """Class names and their arguments, where the host would only fail while building them."""
    provided = {
        "dataset": ["root", "transform", "download"],
        "trainer": [
            "models", "optimizers", "sampler", "collate_fn", "loss_funcs", "mining_funcs",
            "dataset", "data_device", "lr_schedulers", "gradient_clippers",
            "data_and_label_getter", "dataset_labels", "end_of_iteration_hook",
            "end_of_epoch_hook", "unlabeled_dataset", "unlabeled_sampler", "num_classes",
            "true_labels",
        ],
        "tester": [],
        "split_manager": [],
        "sampler": ["labels"],
        "hook_container": ["record_keeper", "record_group_name_prefix"],
        "aggregator": [],
    }  # fmt: skip
    areas = {
        "dataset": "config_dataset", "split_manager": "config_dataset", "sampler": "config_loss",
        "trainer": "config_general",
    }  # fmt: skip
    problems = []
    for kind, given in provided.items():
        where = f"{kind} in {areas.get(kind, 'config_eval')}"
        config = getattr(args, kind, None)
        if not isinstance(config, dict) or len(config) != 1:
            found = ", ".join(map(str, config)) if isinstance(config, dict) else repr(config)
            problems.append(
                f"{where} names {found or 'nothing'}; expected exactly one class (a second one is "
                f"added where ~SWAP~1 or ~OVERRIDE~ is left out)"
            )
            continue
        ((name, params),) = config.items()
        try:
            cls = find_class(getter, kind, name)
            check_arguments(cls, params or {}, where, given)
        except ConfigError as error:
            problems.append(str(error))
    return problems
