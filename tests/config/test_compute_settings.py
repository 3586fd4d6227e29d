from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.compute_settings import ComputeSettings


def test_values_are_read() -> None:
    assert ComputeSettings.from_config(None) == ComputeSettings("float32", False, False)
    config = {"precision": "bfloat16", "channels_last": True, "compile": "aot_eager"}
    assert ComputeSettings.from_config(config) == ComputeSettings("bfloat16", True, "aot_eager")
    assert ComputeSettings.from_config({"compile": True}).compile is True


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("bfloat16", r"compute is 'bfloat16'; expected precision, channels_last, compile, such as"),
        ({"precision": "float16"}, r"precision is 'float16' \(did you mean 'bfloat16'\?\)"),
        ({"channels_last": "yes"}, r"channels_last is 'yes'; expected True or False"),
        ({"compile": "aot_eagr"}, r"'aot_eagr' \(did you mean 'aot_eager'\?\); expected True, Fal"),
        ({"compile": None}, r"compile is None; expected True, False or a backend"),
    ],
)
def test_what_is_wrong_is_named(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ComputeSettings.from_config(config)
