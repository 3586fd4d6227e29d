"""Keys of a merged config, the host's and ours, and the keywords that may follow them."""

import re
from typing import Any

from slade_plugin.config import former_keys

STAGE_PREFIXES = ("teacher.", "baseline.", "every.")

# Keys of a config, the host's and ours. The host reads no others.
HOST_KEYS = frozenset(
    """dataset splits_to_eval split_manager tester aggregator ensemble hook_container factories
    api_parser trainer num_epochs_train save_interval patience check_untrained_accuracy
    skip_eval_if_already_done skip_ensemble_eval_if_already_done log_data_to_tensorboard
    save_figures_on_tensorboard save_lists_in_db override_required_compatible_factories loss_funcs
    sampler mining_funcs models optimizers transforms layers_to_extract""".split()
)
SELF_TRAINING_KEYS = frozenset(
    "pipeline pseudo_labels student_initialization teacher_experiment unlabeled_sampler".split()
)
OUR_KEYS = SELF_TRAINING_KEYS | {
    "brings", "compute", "leakage", "plugins", "seed", "self_supervised", "unlabeled_dataset",
}  # fmt: skip

# Training settings apply to the student; everything else is shared by all stages.
STUDENT_KEYS = frozenset(
    """loss_funcs mining_funcs sampler trainer optimizers num_epochs_train save_interval
    api_parser""".split()
) | (OUR_KEYS - {"compute", "leakage", "plugins", "seed", "self_supervised", "unlabeled_dataset"})

DEFAULT_SEED = 0

# The host silently ignores a keyword in any other spelling.
KEYWORD = re.compile(r"~(?:OVERRIDE~|DELETE~|(?:APPLY|SWAP)~[1-9]\d*|(?:LOG_|INT_)?BAYESIAN~\d*)$")


def plain_key(key: str) -> str:
    """Strip the host's keyword from a key: ``trainer~APPLY~2`` is ``trainer``."""
    return KEYWORD.sub("", key)


def complete_config(args: Any) -> None:
    """Add the seed, translate former spellings, and save config keys that no loaded file has.

    The host uses such a key of the command line but saves only the keys of its files, so a resumed
    or evaluated experiment would lack it.

    Args:
        args: The merged config; its `dict_of_yamls` is extended.
    """
    args.seed = getattr(args, "seed", DEFAULT_SEED)
    for config in (vars(args), *args.dict_of_yamls.values()):
        _drop_leftovers(config)
        former_keys.translate(config)
    saved = args.dict_of_yamls
    loaded = {plain_key(key) for area in saved.values() for key in area}
    home = "config_general" if "config_general" in saved else next(iter(saved))
    for key in sorted((HOST_KEYS | OUR_KEYS) & vars(args).keys() - loaded):
        saved[home][key] = getattr(args, key)


def _drop_leftovers(config: Any) -> None:
    """Remove keys such as ``loss~OVERRIDE~`` that remain next to the ``loss`` they modified.

    The host merges the command line into each file of an area in turn. If an early file lacks the
    entry, the keyword stays, and a later file that has the entry does not remove it.

    Args:
        config: A merged config; modified in place.
    """
    if isinstance(config, dict):
        for key in [key for key in config if str(key).endswith("~OVERRIDE~")]:
            if plain_key(key) in config:
                del config[key]
        for value in config.values():
            _drop_leftovers(value)
