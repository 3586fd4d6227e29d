"""What the tests of whole runs share: where they stop, what they compare."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.method.pseudo_labels.record import load_pseudo_labels

SCHEMES = ["Test50_50_Partitions2_0", "Test50_50_Partitions2_1"]


RESUME = "--resume_training latest"


def table(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / "results" / "table.json").read_text())["rows"]


def state(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "pipeline.json").read_text())


def steps(args: Any) -> int:
    (trainer,) = args.trainer.values()
    return args.num_epochs_train * trainer["iterations_per_epoch"]


def raise_at(
    monkeypatch: pytest.MonkeyPatch, target: str, call: int, error: type[BaseException] | Exception
) -> Callable[[], bool]:
    """Lets a function raise from its n-th call on; the returned function says whether it has."""
    owner: Any = None
    for part in target.split(".")[:-1]:
        owner = getattr(owner, part) if owner else importlib.import_module(part)
    name = target.rpartition(".")[2]
    original = getattr(owner, name)
    calls = [0]

    def stand_in(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] >= call:
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, stand_in)
    return lambda: calls[0] >= call


def undo(copied: Path, *stages: str) -> None:
    """Makes stages unfinished, as if the run had been stopped in their evaluation."""
    content = state(copied)
    for stage in stages:
        content["stages"].pop(stage)
    (copied / "pipeline.json").write_text(json.dumps(content))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def assert_equal_experiments(bench: Any, one: Path, other: Path) -> None:
    """The same files, and in them the same bits of every checkpoint and every record."""
    names = [
        {str(p.relative_to(folder)) for p in folder.rglob("*") if "tfevents" not in p.name}
        for folder in (one, other)
    ]
    assert names[0] == names[1]
    assert bench.tensors(one) == bench.tensors(other)
    assert bench.records(one) == bench.records(other)
    for name in (name for name in names[0] if name.endswith(".csv") and "meta_logs" not in name):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def assert_equal_rounds(bench: Any, one: Path, other: Path) -> None:
    for stage in ("student", "round2/student", "baseline"):
        assert_equal_experiments(bench, one / stage, other / stage)
    for labels in ("pseudo_labels", "round2/pseudo_labels"):
        found, expected = (load_pseudo_labels(f / labels, SCHEMES[0]) for f in (one, other))
        assert found.manifest["ids_sha256"] == expected.manifest["ids_sha256"]
        assert found.manifest.get("last_round") == expected.manifest.get("last_round")
    assert table(one) == table(other)


FILES = "slade_plugin.host.checkpoints.checkpoint_files"


PIPELINE = "slade_plugin.stages.pipeline"


STATE = "slade_plugin.stages.state"


STUDENT_PARSER = "slade_plugin.host.api_parsers.api_slade_student"


PSEUDO_LABELS = "slade_plugin.host.api_parsers.api_slade_pseudo_labels"
CLUSTER = f"{PSEUDO_LABELS}.APISladePseudoLabels.cluster_pool"


TESTER = "pytorch_metric_learning.testers.BaseTester.test"


STEP = "pytorch_metric_learning.trainers.BaseTrainer.forward_and_backward"


RECORDS = "record_keeper.record_keeper.RecordKeeper.save_records"
