"""Report everything wrong with a config at once, before any training.

The host silently accepts unknown keys and fails on wrong values in the middle of a run. Problems
that only show when the parts are built are left to `slade_plugin.stages.preflight`.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.config.keys import (
    HOST_KEYS,
    OUR_KEYS,
    SELF_TRAINING_KEYS,
    STAGE_PREFIXES,
    plain_key,
)
from slade_plugin.config.lookup import build, check_arguments, find_class, resolve
from slade_plugin.data.datasets import FolderImages
from slade_plugin.data.leakage import LeakageSettings
from slade_plugin.host.api_parsers.api_slade_student import STUDENT_INITIALIZATIONS
from slade_plugin.host.api_parsers.api_with_pool import APIWithPool
from slade_plugin.method.pseudo_labels.settings import PseudoLabelSettings
from slade_plugin.method.self_supervised.settings import PLACE, SwAVSettings

# Those of `pipeline` are read with the teacher's config.
_READ_HERE = (HOST_KEYS | OUR_KEYS) - {"pipeline"}

_RUN_FLAGS = frozenset(
    """pytorch_home dataset_root root_experiment_folder root_config_folder global_db_path
    merge_argparse_when_resuming bayes_opt_iters reproductions list debug""".split()
)
_SWITCHES = (
    "check_untrained_accuracy",
    "skip_eval_if_already_done",
    "skip_ensemble_eval_if_already_done",
    "log_data_to_tensorboard",
    "save_figures_on_tensorboard",
    "save_lists_in_db",
    "override_required_compatible_factories",
)
_EXPECTED = "expected ~OVERRIDE~, ~DELETE~, ~APPLY~2 or ~SWAP~1"

# Arguments that the program gives to a constructor, by kind, and the config area of its class.
_PROVIDED: dict[str, tuple[str, list[str]]] = {
    "dataset": ("config_dataset", ["root", "transform", "download"]),
    "unlabeled_dataset": ("config_dataset", ["root", "transform"]),
    "split_manager": ("config_dataset", []),
    "trainer": ("config_general", [
        "models", "optimizers", "sampler", "collate_fn", "loss_funcs", "mining_funcs", "dataset",
        "data_device", "lr_schedulers", "gradient_clippers", "data_and_label_getter",
        "dataset_labels", "end_of_iteration_hook", "end_of_epoch_hook", "unlabeled_dataset",
        "unlabeled_sampler", "num_classes", "true_labels", "num_epochs", "embedding_sizes",
        "transforms", "data_and_label_setter",
    ]),
    "api_parser": ("config_general", ["args", "pytorch_getter", "global_db_path"]),
    "sampler": ("config_loss", ["labels"]),
    "unlabeled_sampler": ("config_loss", ["labels"]),
    "tester": ("config_eval", []),
    "hook_container": ("config_eval", ["record_keeper", "record_group_name_prefix"]),
    "aggregator": ("config_eval", []),
    "ensemble": ("config_eval", []),
}  # fmt: skip
_OPTIONAL = {"api_parser", "unlabeled_dataset", "unlabeled_sampler"}
_KIND = {"unlabeled_dataset": "dataset", "unlabeled_sampler": "sampler"}

# key -> argument of its class -> minimum
_LEAST: dict[str, dict[str, int]] = {
    "trainer": {"batch_size": 1, "iterations_per_epoch": 1, "dataloader_num_workers": 0},
    "tester": {"batch_size": 1, "dataloader_num_workers": 0},
    "sampler": {"m": 1},
    "unlabeled_sampler": {"m": 1},
}
_REFERENCE_SETS = ("compared_to_self", "compared_to_sets_combined", "compared_to_training_set")
_MAY_BE_NULL = {"iterations_per_epoch"}


def check_command_line(unknown_args: Iterable[str], areas: Iterable[str]) -> None:
    """Check the flags that the argument parser passed on as config keys.

    Args:
        unknown_args: The words that the argument parser did not consume.
        areas: Areas of the config root.

    Raises:
        ConfigError: Naming every unknown flag, with the nearest valid key.
    """
    keys = (HOST_KEYS | OUR_KEYS | set(areas)) - {"brings"}
    problems = []
    for flag in (a for a in unknown_args if re.match("--[a-zA-Z]", a)):
        key = plain_key(flag[2:])
        if "~" in key:
            problems.append(f"{flag} has a keyword unknown to the benchmarker: {_EXPECTED}")
            continue
        prefix = next((p for p in STAGE_PREFIXES if key.startswith(p)), "")
        known = keys if prefix else keys | _RUN_FLAGS | {"config_foldernames"}
        if key.removeprefix(prefix) not in known:
            hint = nearest(key.removeprefix(prefix), known)
            problems.append(f"unknown flag or config key: {flag}{hint}")
    if problems:
        raise ConfigError("; ".join(problems) + ". run.py --list prints the configs.")


def check_args(args: Any, getter: Any) -> None:
    """Check a merged config: keys, types, ranges, class names and their arguments.

    Args:
        args: The host's namespace from YAML files and command line.
        getter: The runner's `pytorch_getter`, with every registered class.

    Raises:
        ConfigError: Naming everything that is wrong.
    """
    config = vars(args)
    problems = [
        *_unknown_keys(config),
        *_keys_without_effect(config, getter),
        *_keywords({k: config[k] for k in config if plain_key(k) in _READ_HERE}),
        *_numbers(config),
        *_schedules(config),
        *_evaluation(config),
        *_classes(config, getter),
        *_named_parts(config, getter),
        *_checked_by_themselves(config, getter),
        *_student_initialization(config),
        *_pipeline(config),
        *_self_supervised(config),
    ]
    if problems:
        raise ConfigError("\n  ".join(["the config is wrong:", *problems]))


def _unknown_keys(config: Mapping[str, Any]) -> list[str]:
    known = HOST_KEYS | OUR_KEYS
    loaded = {k for area in (config.get("dict_of_yamls") or {}).values() for k in area}
    areas = set(config.get("config_foldernames") or ())
    return [
        f"unknown config key: {key}{nearest(key, known)}"
        for key in sorted(map(plain_key, loaded))
        if key not in known | areas | {"config_foldernames"}
    ]


def _keys_without_effect(config: Mapping[str, Any], getter: Any) -> list[str]:
    trainer, _ = _only_class(config, "trainer") or ("", {})
    name, _ = _only_class(config, "api_parser") or (f"API{trainer}", {})
    try:
        parser: Any = find_class(getter, "api_parser", name)
        if issubclass(parser, APIWithPool):
            return []
    except ConfigError:
        return []  # named by _classes
    given = sorted(key for key in SELF_TRAINING_KEYS & config.keys() if not _is_null(config[key]))
    pipeline = config.get("pipeline")
    if "pipeline" in given and isinstance(pipeline, Mapping) and set(pipeline) == {"rounds"}:
        given[given.index("pipeline")] = "--rounds"
    given += sorted(k for k in config if k.startswith(STAGE_PREFIXES))
    return [
        f"{key} has no effect here; expected it only with a self-training config, such as "
        "--config_loss slade"
        for key in given
    ]


def _is_null(value: Any) -> bool:
    """Whether an entry sets nothing, such as a data set's `pseudo_labels: {num_clusters: null}`."""
    if isinstance(value, Mapping):
        return bool(value) and all(map(_is_null, value.values()))
    return value is None


def _keywords(content: Any, where: str = "") -> Iterator[str]:
    """List keys that still have a keyword: misspelled, or below a key that no file has."""
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        path = f"{where}.{key}".lstrip(".")
        if "BAYESIAN~" in str(key):
            yield (f"{path} is a search space; expected a value, or --bayes_opt_iters N to search")
        elif "~" in str(key):
            yield (
                f"{path} has a keyword that the benchmarker does not read here; {_EXPECTED}, each "
                "after an existing key"
            )
        yield from _keywords(value, path)


def _only_class(config: Mapping[str, Any], key: str) -> tuple[str, Mapping[str, Any]] | None:
    """Return name and arguments of an entry `{ClassName: arguments}`, else None."""
    spec = config.get(key)
    if not isinstance(spec, Mapping) or len(spec) != 1:
        return None
    ((name, params),) = spec.items()
    return (str(name), params or {}) if isinstance(params, Mapping | None) else None


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _numbers(config: Mapping[str, Any]) -> list[str]:
    problems = []
    for name, least in {"num_epochs_train": 1, "save_interval": 1, "patience": 0}.items():
        value = config.get(name, least)
        if value is None and name == "patience":
            continue
        # The host gives each split scheme its own number when it reproduces a resumed run.
        by_scheme = isinstance(value, Mapping) and name == "num_epochs_train"
        if not all(_is_integer(v, least) for v in (value.values() if by_scheme else [value])):
            problems.append(f"{name} is {value!r}; expected an integer >= {least} (config_general)")
    seed = config.get("seed", 0)
    if not _is_integer(seed, 0) or seed >= 2**32:
        problems.append(f"seed is {seed!r}; expected 0 to {2**32 - 1} (--seed)")
    epochs, interval = (config.get(k, 1) for k in ("num_epochs_train", "save_interval"))
    if not problems and isinstance(epochs, int) and interval > epochs:
        problems.append(
            f"save_interval is {interval}, above num_epochs_train {epochs}: no epoch would be "
            f"evaluated; expected 1 to {epochs} (config_general)"
        )
    problems += [
        f"{name} is {config[name]!r}; expected True or False (config_general)"
        for name in _SWITCHES
        if not isinstance(config.get(name, True), bool)
    ]
    for key, leasts in _LEAST.items():
        name, params = _only_class(config, key) or ("", {})
        for argument, least in leasts.items():
            value = params.get(argument, least)
            if not (_is_integer(value, least) or (value is None and argument in _MAY_BE_NULL)):
                problems.append(
                    f"{key}.{name}.{argument} is {value!r}; expected an integer >= {least} "
                    f"({_PROVIDED[key][0]})"
                )
    return problems


def _schedules(config: Mapping[str, Any]) -> list[str]:
    """Find arguments next to schedulers, and cosine schedules shorter than the training."""
    problems = []
    epochs = config.get("num_epochs_train")
    for name, optimizer in _mapping(config, "optimizers", []).items():
        entries = optimizer.items() if isinstance(optimizer, Mapping) else ()
        schedulers = {
            key: value
            for key, value in entries
            if key.startswith("scheduler_by_") and isinstance(value, Mapping)
        }
        problems += [
            f"optimizers.{name}.{key} has {argument!r} next to its scheduler, where ~APPLY~3 puts "
            "it; expected it below a class, as in --optimizers~APPLY~2 "
            f"{{Adam: {{{argument}: {scheduler[argument]}}}}}"
            for key, scheduler in schedulers.items()
            for argument in scheduler
            if len(scheduler) > 1 and not argument[:1].isupper()
        ]
        cosine = schedulers.get("scheduler_by_epoch", {}).get("CosineAnnealingLR")
        length = cosine.get("T_max") if isinstance(cosine, Mapping) else None
        if isinstance(length, int) and isinstance(epochs, int) and length < epochs:
            problems.append(
                f"optimizers.{name}: T_max of CosineAnnealingLR is {length}, below "
                f"num_epochs_train {epochs}: the rate would rise again; expected {epochs} "
                "(config_optimizers)"
            )
    return problems


def _evaluation(config: Mapping[str, Any]) -> list[str]:
    splits = config.get("splits_to_eval")
    known = ["train", "val", "test"]
    if not isinstance(splits, list) or not splits:
        return [f"splits_to_eval is {splits!r}; expected a list such as [val] (config_dataset)"]
    problems = [
        f"splits_to_eval contains {s!r}{nearest(str(s), known)}; expected train, val or test"
        for s in splits
        if s not in known
    ]
    training = not (config.get("evaluate") or config.get("evaluate_ensemble"))
    _, hooks = _only_class(config, "hook_container") or ("", {})
    validation = hooks.get("validation_split_name", "val")
    if training and validation not in splits:
        problems.append(
            f"splits_to_eval is {splits}, without {validation}, which selects the best model; "
            f"expected {validation} among them (config_dataset)"
        )
    _, tester = _only_class(config, "tester") or ("", {})
    reference = tester.get("reference_set", _REFERENCE_SETS[0])
    if reference not in _REFERENCE_SETS:
        problems.append(
            f"tester: reference_set is {reference!r}{nearest(str(reference), _REFERENCE_SETS)}; "
            f"expected one of {', '.join(_REFERENCE_SETS)} (config_eval)"
        )
    elif reference == "compared_to_training_set" and "train" not in splits:
        problems.append(
            f"tester: reference_set is {reference}, but splits_to_eval is {splits}; expected train "
            "among them (config_dataset)"
        )
    return problems


def _classes(config: Mapping[str, Any], getter: Any) -> list[str]:
    """Check class names and arguments that would otherwise fail only when built."""
    problems = []
    for key, (area, given) in _PROVIDED.items():
        spec = config.get(key)
        if spec is None and key in _OPTIONAL:
            continue
        where = f"{key} in {area}"
        if not isinstance(spec, Mapping) or len(spec) != 1:
            names = [str(name) for name in spec] if isinstance(spec, Mapping) else [repr(spec)]
            hint = (
                "--labeled and --unlabeled need --config_dataset folders or folders_small"
                if FolderImages.__name__ in names
                else "without ~SWAP~1 or ~OVERRIDE~ a second one is added"
            )
            problems.append(
                f"{where} names {', '.join(names) or 'nothing'}; expected exactly one class "
                f"({hint})"
            )
            continue
        try:
            cls, params = resolve(getter, _KIND.get(key, key), spec, where)
            check_arguments(cls, params, where, given)
        except ConfigError as error:
            problems.append(str(error))
            continue
        problems += [
            f"{where}: {cls.__name__}.{name} has no effect, since the program sets it; remove it"
            for name in params
            if key == "trainer" and name in given
        ]
    return problems


def _named_parts(config: Mapping[str, Any], getter: Any) -> list[str]:
    """Check entries with several named parts, each part one class."""
    problems: list[str] = []
    for key, kind in {"models": "model", "factories": "factory"}.items():
        for name, spec in _mapping(config, key, problems).items():
            try:
                resolve(getter, kind, spec, f"{key}.{name}")
            except ConfigError as error:
                problems.append(str(error))
    for name, transforms in _mapping(config, "transforms", problems).items():
        for transform in _mapping({name: transforms}, name, problems):
            try:
                find_class(getter, "transform", transform, f"transforms.{name}")
            except ConfigError as error:
                problems.append(str(error))
    for key in ("loss_funcs", "mining_funcs", "optimizers"):
        _mapping(config, key, problems)  # the factories check their contents
    return problems


def _is_area(name: Any) -> bool:
    return str(name).startswith("config_")


def _mapping(config: Mapping[str, Any], key: str, problems: list[str]) -> Mapping[str, Any]:
    """Return an entry that is a mapping or empty; report anything else as a problem."""
    value = config.get(key) or {}
    if isinstance(value, Mapping):
        return value
    problems.append(f"{key} is {value!r}; expected keys and values")
    return {}


def _pseudo_labels(entry: Mapping[str, Any], getter: Any) -> None:
    settings = PseudoLabelSettings.from_config(entry)
    build(getter, "clusterer", settings.clusterer, "pseudo_labels.clusterer (config_general)")


# Entry -> constructor of its objects, which check themselves.
_MAKERS: dict[str, Callable[[Any, Any], object]] = {
    "pseudo_labels": _pseudo_labels,
    "self_supervised": lambda entry, _: SwAVSettings.from_config(entry),
    "leakage": lambda entry, _: LeakageSettings.from_config(entry),
    "compute": lambda entry, _: ComputeSettings.from_config(entry),
}


def _checked_by_themselves(config: Mapping[str, Any], getter: Any) -> list[str]:
    """Collect the errors of the objects that check themselves."""
    problems: list[str] = []
    for key, make in _MAKERS.items():
        if _is_null(config.get(key)) or not _mapping(config, key, problems):
            continue
        try:
            make(config[key], getter)
        except ConfigError as error:
            problems.append(str(error))
    return problems


def _student_initialization(config: Mapping[str, Any]) -> list[str]:
    choice = config.get("student_initialization", STUDENT_INITIALIZATIONS[0])
    if choice in STUDENT_INITIALIZATIONS:
        return []
    return [
        f"student_initialization is {choice!r}{nearest(str(choice), STUDENT_INITIALIZATIONS)}; "
        f"expected {' or '.join(STUDENT_INITIALIZATIONS)} (config_general)"
    ]


def _pipeline(config: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    pipeline = _mapping(config, "pipeline", problems)
    if not isinstance(pipeline.get("baseline", True), bool):
        problems.append(
            f"pipeline.baseline is {pipeline['baseline']!r}; expected True or False "
            "(config_general)"
        )
    if not _is_integer(pipeline.get("rounds", 1), 1):
        problems.append(
            f"pipeline.rounds is {pipeline['rounds']!r}; expected an integer >= 1 (--rounds, "
            "config_general)"
        )
    _mapping(pipeline, "teacher", problems)
    for stage, entry in pipeline.items():
        if isinstance(entry, Mapping):
            problems += _stage_settings(stage, entry, config)
    return problems


def _stage_settings(stage: str, entry: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """Check the settings of one stage; the pipeline checks the stage names."""
    areas = set(config.get("config_foldernames") or filter(_is_area, entry))
    ours = {"brings", "leakage", "plugins", "seed", "unlabeled_dataset"}
    known = sorted((HOST_KEYS | ours | areas) - {"api_parser"})
    return [
        f"unknown config key: pipeline.{stage}.{name}{nearest(plain_key(str(name)), known)}"
        for name in entry
        if plain_key(str(name)) not in known
    ]


def _self_supervised(config: Mapping[str, Any]) -> list[str]:
    problems: list[str] = []
    entry = _mapping(config, "self_supervised", [])
    if entry and not entry.get(PLACE) and not config.get("pipeline"):
        problems.append(
            "self_supervised has no effect here; expected it with a self-training config, such "
            f"as --config_loss slade, or with {PLACE}: the folder of a finished stage "
            "(config_self_supervised)"
        )
    untrained = config.get("check_untrained_accuracy") and entry.get(PLACE)
    if config.get("evaluate_ensemble") and untrained:
        problems.append(
            "check_untrained_accuracy is True, but the host gives all untrained trunks of an "
            "ensemble the same weights, while here each split scheme has its own; expected "
            "--check_untrained_accuracy False"
        )
    return problems
