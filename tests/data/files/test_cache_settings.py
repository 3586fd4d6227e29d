from typing import Any

import pytest
from torchvision import transforms

from slade_plugin.base.errors import ConfigError
from slade_plugin.data.files.cache_settings import CacheSettings


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "short_side is 0; expected an integer >= 16"),
        ({"short_side": 15}, "short_side is 15; expected an integer >= 16"),
        ({"short_side": True}, "short_side is True"),
        ({"short_side": "256"}, "short_side is '256'"),
        (256, "cache is 256; expected short_side, folder"),
        ([256], r"cache is \[256\]"),
        ({"short_side": 256, "folder": 1}, "folder is 1; expected a str or null"),
        ({"short_side": 256, "size": 1}, "cache has no entry 'size'"),
    ],
)
def test_wrong_settings_are_refused(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CacheSettings.from_config(config)


def test_a_larger_resize_is_refused_and_a_smaller_one_not() -> None:
    settings = CacheSettings.from_config({"short_side": 64})
    settings.check_fits(transforms.Compose([transforms.Resize(64), transforms.ToTensor()]))
    settings.check_fits(None)
    with pytest.raises(ConfigError, match="short_side is 64, but the transforms resize to 65"):
        settings.check_fits(transforms.Resize(65))
