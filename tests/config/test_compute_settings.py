from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.compute_settings import ComputeSettings


@pytest.mark.parametrize("config", [None, {}])
def test_nothing_given_is_the_default(config: Any) -> None:
    assert ComputeSettings.from_config(config) == ComputeSettings("float32", False, False)


def test_values_are_read() -> None:
    config = {"precision": "bfloat16", "channels_last": True, "compile": "aot_eager"}
    assert ComputeSettings.from_config(config) == ComputeSettings("bfloat16", True, "aot_eager")
    assert ComputeSettings.from_config({"compile": True}).compile is True


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("bfloat16", r"compute is 'bfloat16'; expected precision, channels_last, compile, such as"),
        ({"presision": "float32"}, r"no entry 'presision' \(did you mean 'precision'\?\)"),
        ({"precision": "bfloat"}, r"'bfloat' \(did you mean 'bfloat16'\?\); expected float32 or"),
        ({"precision": 16}, r"precision is 16; expected float32 or bfloat16 \(config_general\)"),
        ({"precision": "float16"}, r"precision is 'float16'"),
        ({"channels_last": "yes"}, r"channels_last is 'yes'; expected True or False"),
        ({"compile": "aot_eagr"}, r"'aot_eagr' \(did you mean 'aot_eager'\?\); expected True, Fal"),
        ({"compile": None}, r"compile is None; expected True, False or a backend"),
    ],
)
def test_what_is_wrong_is_named(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ComputeSettings.from_config(config)


def test_everything_wrong_is_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        ComputeSettings.from_config({"precision": 1, "channels_last": 2, "compile": 3, "x": 4})
    assert all(word in str(caught.value) for word in ("is 1", "is 2", "is 3", "'x'"))
