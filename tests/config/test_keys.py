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
