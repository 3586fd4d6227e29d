"""The stage before the teacher: trained here, or given as a folder; whole runs are in recipes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.stages.self_supervised import SelfSupervised


def stage(place: Path | None, run: Path, runner: Any = None) -> SelfSupervised:
    entry = {"folder": str(place), "num_epochs": 3} if place else {}
    command: Any = SimpleNamespace(
        self_supervised=entry,
        rounds=1,
        folder=run,
        stage_folder=lambda kind: run / kind,
        configs={"student": SimpleNamespace()},
        runner=runner,
    )
    return SelfSupervised(command)


def test_it_is_trained_in_its_own_folder(tmp_path: Path) -> None:
    own = stage(tmp_path / "self_supervised", tmp_path)
    assert own.is_wanted()
    assert own.given is None
    assert own.describe() == "SwAV, 3 epochs per split scheme"
    assert not stage(None, tmp_path).is_wanted()


def test_a_given_folder_is_known_by_its_trunks(tmp_path: Path) -> None:
    """Whatever it is called; another file, or the same for another split scheme, is another one."""

    def found(name: str, files: dict[str, bytes]) -> str:
        for scheme, content in files.items():
            (tmp_path / name / scheme).mkdir(parents=True)
            (tmp_path / name / scheme / "trunk.pth").write_bytes(content)
        given = stage(tmp_path / name, tmp_path / "run")
        assert given.given == tmp_path / name
        return given.check().hashes["self_supervised"]

    first = found("first", {"a": b"1", "b": b"2"})
    assert found("copy", {"a": b"1", "b": b"2"}) == first
    assert len({first, found("x", {"a": b"1"}), found("y", {"a": b"2", "b": b"1"})}) == 3


def test_trunks_are_recorded_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = {
        "trunk_sha256": "a" * 64,
        "start_sha256": "b" * 64,
        "seconds": 1.5,
        "epochs": [{"loss": 2.0}, {"loss": 1.0}],
    }
    parsers: list[Any] = []

    def get_api_parser(args: Any) -> Any:
        parsers.append(args.api_parser)
        return SimpleNamespace(run=lambda: {"scheme": dict(manifest)})

    runner = SimpleNamespace(get_api_parser=get_api_parser)
    own = stage(tmp_path / "self_supervised", tmp_path, runner)
    entry: dict[str, Any] = {}
    for _ in range(2):
        own.run(entry)
    assert entry["done"]
    assert entry["trunks"]["scheme"]["loss"] == [2.0, 1.0]
    assert parsers == [{"APISladeSelfSupervised": {}}] * 2
    assert "scheme: loss 2.000 to 1.000" in capsys.readouterr().out
    manifest["trunk_sha256"] = "c" * 64
    with pytest.raises(ExperimentError, match="have changed: scheme/trunk_sha256 was 'aaa"):
        own.run(entry)
