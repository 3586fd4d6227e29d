from pathlib import Path

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.commands.outputs import check_outputs


def test_what_can_be_written_passes(tmp_path: Path) -> None:
    check_outputs([tmp_path / "a.md", tmp_path / "b.json"], [".md", ".json"])
    check_outputs([], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "message"), [("a.doc", r"\.md, \.json"), ("no/a.md", "writable")])
def test_what_cannot_is_refused(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name}.*expected.*{message}"):
        check_outputs([tmp_path / name], [".md", ".json"])
