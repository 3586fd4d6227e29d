from types import SimpleNamespace

import pytest

from slade_plugin.config.keys import STAGE_PREFIXES, complete_config, plain_key


@pytest.mark.parametrize(
    ("key", "plain"),
    [
        ("trainer~APPLY~12", "trainer"),
        ("x~SWAP~1", "x"),
        ("x~OVERRIDE~", "x"),
        ("x~DELETE~", "x"),
        ("lr~LOG_BAYESIAN~", "lr"),
        ("x", "x"),
        ("x~OVERIDE~", "x~OVERIDE~"),
    ],
)
def test_plain_key(key: str, plain: str) -> None:
    assert plain_key(key) == plain


def test_stage_prefixes_are_those_of_the_help() -> None:
    assert STAGE_PREFIXES == ("teacher.", "baseline.", "every.")


def test_only_config_keys_are_kept() -> None:
    args = SimpleNamespace(
        dict_of_yamls={"config_a": {"sampler~OVERRIDE~": {}}}, sampler={}, patience=3, evaluate=True
    )
    complete_config(args)
    saved = {"sampler~OVERRIDE~": {}, "patience": 3, "seed": 0}
    assert args.dict_of_yamls == {"config_a": saved}
    assert args.seed == 0  # the host's own configs have none


def test_a_seed_that_is_given_is_kept() -> None:
    args = SimpleNamespace(dict_of_yamls={"config_general": {"seed": 5}}, seed=5)
    complete_config(args)
    assert args.dict_of_yamls == {"config_general": {"seed": 5}}


def test_a_keyword_left_beside_its_entry_is_dropped() -> None:
    """As the host leaves it where a later file of the area has the entry and an early one not."""
    left = {"loss": {"A": {"choice~OVERRIDE~": {"X": {}}, "choice": {"X": {}}, "b~OVERRIDE~": 1}}}
    args = SimpleNamespace(loss_funcs=left, dict_of_yamls={"config_loss": {"loss_funcs": left}})
    complete_config(args)
    assert args.loss_funcs == {"loss": {"A": {"choice": {"X": {}}, "b~OVERRIDE~": 1}}}
    assert args.dict_of_yamls["config_loss"]["loss_funcs"] == args.loss_funcs


def test_former_spellings_are_translated_for_use_and_for_saving() -> None:
    former = {"source": "true_labels", "num_clusters": 4}
    args = SimpleNamespace(
        pseudo_labels=former, dict_of_yamls={"general": {"pseudo_labels": former}}
    )
    complete_config(args)
    assert args.pseudo_labels == {"clusterer": {"TrueLabels": {}}}
    assert args.dict_of_yamls["general"]["pseudo_labels"] == args.pseudo_labels
