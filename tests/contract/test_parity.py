"""A baseline through our runner and through the host's own: the same records and the same weights.

The host's run knows nothing of the plugin but the data set and the trunk: its runner, its API
parser, its factories, its hooks. It draws its random numbers from where it is told to, since it
seeds nothing; `SeededLikeOurs` does that at the same two places, and nothing else.
"""

import io
import logging
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
from powerful_benchmarker.api_parsers import BaseAPIParser
from powerful_benchmarker.runners.single_experiment_runner import SingleExperimentRunner

from slade_plugin.base.seeding import seed_everything
from slade_plugin.config.composition import config_root
from slade_plugin.data.datasets import Glyphs
from slade_plugin.method.models import conv4
from tests import host_parts

pytestmark = pytest.mark.host

HOST_PARTS = f"{host_parts.HOST_PARTS} --api_parser {{SeededLikeOurs: {{}}}}"
UNTRAINED = "--check_untrained_accuracy True"
OFF = "--hook_container~APPLY~2 {untrained_model_can_be_best: True}"
# Besides the files of the host.
OURS = ("checkpoint_*.json", "training_state_*.pth", "environment.json", "data.json")
META = "meta_logs/saved_csvs/logs.db: MeanAggregator_"


class SeededLikeOurs(BaseAPIParser):
    """The host's API parser, seeded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        seed_everything(self.args.seed)

    def set_models_optimizers_losses(self) -> None:
        seed_everything(self.args.seed + self.curr_split_count)
        super().set_models_optimizers_losses()


@pytest.fixture(scope="module")
def run_host(bench: Any) -> Callable[..., None]:
    """Runs a command line with the host's own runner."""

    def run(flags: str, root: Path) -> None:
        levels = logging.getLogger().level
        with pytest.MonkeyPatch.context() as patch, redirect_stderr(io.StringIO()):
            patch.setattr(sys, "argv", ["run.py", *flags.split()])
            runner = SingleExperimentRunner(
                dataset_root=str(bench.dataset_root),
                root_experiment_folder=str(root),
                root_config_folder=str(config_root()),
            )
            for kind, cls in (
                ("dataset", Glyphs),
                ("model", conv4),
                ("api_parser", SeededLikeOurs),
            ):
                runner.register(kind, cls)
            runner.run()
        logging.getLogger().setLevel(levels)

    return run


@pytest.fixture(scope="module")
def both(
    bench: Any, run_host: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[Path, Path]]:
    """Folders of one experiment by the host and by us."""

    def run(flags: str, ours: str = "") -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp("parity")
        config = f"--config_loss [default, contrastive] {flags}"
        run_host(f"{config} {HOST_PARTS} --experiment_name host", root)
        outcome = bench(f"{config} {ours} --experiment_name ours", root=root)
        assert outcome.code == 0, outcome.err
        return root / "host", root / "ours"

    return run


@pytest.fixture(scope="module")
def tiny(bench: Any) -> str:
    return bench.tiny(schemes=2, epochs=2, iterations=3)


@pytest.fixture(scope="module")
def shipped(both: Callable[..., tuple[Path, Path]], tiny: str) -> tuple[Path, Path]:
    """As shipped: all our factories and hooks against none of them."""
    return both(tiny)


@pytest.fixture(scope="module")
def untrained(both: Callable[..., tuple[Path, Path]], tiny: str) -> tuple[Path, Path]:
    """With the host's evaluations of the untrained model, which may be "best" as in the host."""
    return both(f"{tiny} {UNTRAINED}", OFF)


@pytest.fixture(params=["shipped", "untrained"])
def pair(request: pytest.FixtureRequest) -> tuple[str, Path, Path]:
    host, ours = request.getfixturevalue(request.param)
    return request.param, host, ours


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not any(map(path.match, OURS))
    }


def tensors(bench: Any, folder: Path) -> dict[str, Any]:
    """What the host saves too."""
    saved = bench.tensors(folder).items()
    return {name: value for name, value in saved if not any(map(Path(name).match, OURS))}


def validation(bench: Any, folder: Path) -> list[list[dict[str, Any]]]:
    """The rows of accuracies on val, by split scheme."""
    return [
        rows
        for table, rows in bench.records(folder).items()
        if table.endswith("_VAL") and not table.startswith("meta_logs")
    ]


def test_every_record_is_equal(bench: Any, pair: tuple[str, Path, Path]) -> None:
    """All tables of all databases, every column but the time of day."""
    name, *folders = pair
    host, ours = map(bench.records, folders)
    assert host.keys() == ours.keys()
    for table in host:
        assert ours[table] == host[table], table
    # Of both split schemes: losses of 2 x 3 iterations, accuracies, and a summary of the best.
    for scheme in ("Test50_50_Partitions2_0", "Test50_50_Partitions2_1"):
        assert len(host[f"{scheme}/saved_csvs/logs.db: loss_histories"]) == 6
    epochs = [1, 2] if name == "shipped" else [-1, 0, 1, 2]
    for rows in validation(bench, folders[0]):
        assert [row["epoch"] for row in rows] == epochs
    (summary,) = (rows for table, rows in host.items() if table.startswith(META))
    assert summary[-1]["trained_status"] == "trained"
    assert len(summary) == (1 if name == "shipped" else 3)


def test_every_saved_tensor_is_equal(bench: Any, pair: tuple[str, Path, Path]) -> None:
    """Models, optimizers with their moments, losses: the same files, the same bits."""
    _, *folders = pair
    host, ours = (tensors(bench, folder) for folder in folders)
    assert host.keys() == ours.keys()
    for name in host:
        assert ours[name] == host[name], name
    assert {Path(name).stem.rpartition("_")[0] for name in host} == {
        "trunk", "embedder", "trunk_optimizer", "embedder_optimizer", "metric_loss",
    }  # fmt: skip
    for scheme in ("Test50_50_Partitions2_0", "Test50_50_Partitions2_1"):
        saved = [name for name in host if name.startswith(scheme)]
        assert host[f"{scheme}/saved_models/trunk_2.pth"] != host[saved[0]]


def test_files_are_those_of_the_host(pair: tuple[str, Path, Path]) -> None:
    """But for the manifests of our checkpoints, what makes a resumed run exact, and versions."""
    _, host, ours = pair
    assert files(ours) == files(host)
    assert all(any(ours.rglob(pattern)) for pattern in OURS)


def test_the_comparison_would_see_a_difference(
    bench: Any, shipped: tuple[Path, Path], tiny: str, tmp_path: Path
) -> None:
    """Another seed: losses, accuracies and weights are told apart."""
    config = f"--config_loss [default, contrastive] {tiny} --experiment_name other --seed 1"
    assert bench(config, root=tmp_path).code == 0
    other = tmp_path / "other"
    assert validation(bench, other) != validation(bench, shipped[0])
    host, others = tensors(bench, shipped[0]), tensors(bench, other)
    trunks = [name for name in host if name.endswith("/trunk_2.pth")]
    assert len(trunks) == 2
    assert all(host[name] != others[name] for name in trunks)


# ---- the fix that changes numbers ---------------------------------------------------------------


@pytest.fixture(scope="module")
def standstill(
    bench: Any, run_host: Callable[..., None], both: Callable[..., tuple[Path, Path]], tiny: str
) -> tuple[Path, Path, Path]:
    """By the host, by us without the fix, and by us with it; evaluated on test as well.

    With a rate of 0 and frozen statistics no epoch is better than the untrained model, which
    therefore stays the best one in the host.
    """
    frozen = tiny.replace(
        "--trainer~APPLY~2 {", "--trainer~APPLY~2 {freeze_trunk_batchnorm: True, "
    )
    config = f"{frozen} {UNTRAINED} --optimizers~APPLY~3 {{lr: 0.0}}"
    host, off = both(config, OFF)
    root = host.parent
    assert bench(f"--config_loss contrastive {config} --experiment_name on", root=root).code == 0
    evaluate = "--evaluate --splits_to_eval [test]"
    run_host(f"--experiment_name host {evaluate}", root)
    for name in ("ours", "on"):
        assert bench(f"--experiment_name {name} {evaluate}", root=root).code == 0
    return host, off, root / "on"


def test_switched_off_it_is_the_host(bench: Any, standstill: tuple[Path, Path, Path]) -> None:
    host, off, _ = standstill
    assert [rows[-1]["best_epoch"] for rows in validation(bench, host)] == [0, 0]
    assert bench.records(off) == bench.records(host)
    assert tensors(bench, off) == tensors(bench, host)


def test_switched_on_it_changes_the_best_epoch_and_what_is_tested(
    bench: Any, standstill: tuple[Path, Path, Path]
) -> None:
    host, _, on = standstill
    assert [rows[-1]["best_epoch"] for rows in validation(bench, on)] == [1, 1]
    for old, new in zip(validation(bench, host), validation(bench, on), strict=True):
        differing = {key for a, b in zip(old, new, strict=True) for key in a if a[key] != b[key]}
        assert differing == {"best_epoch"}  # not one accuracy
    records = {folder: bench.records(folder) for folder in (host, on)}
    losses = [table for table in records[host] if "loss" in table]
    assert all(records[host][table] == records[on][table] for table in losses)
    # In the host no trained model is tested: its "best" is the untrained one of epoch 0.
    tested = {
        folder: [
            [row["epoch"] for row in rows]
            for table, rows in tables.items()
            if table.endswith("_TEST") and not table.startswith("meta_logs")
        ]
        for folder, tables in records.items()
    }
    assert tested == {host: [[-1, 0]] * 2, on: [[-1, 0, 1]] * 2}


# ---- the other fixes change nothing -------------------------------------------------------------


@pytest.mark.parametrize("part", ["factories", "hook_container"])
def test_our_parts_and_the_hosts_give_the_same_run(
    part: str, bench: Any, shipped: tuple[Path, Path], tiny: str, tmp_path: Path
) -> None:
    """Our runner with the host's own factories, or with its own hooks."""
    flags = HOST_PARTS[HOST_PARTS.index(f"--{part}") :].split(" --")[0]
    config = f"--config_loss [default, contrastive] {tiny} --experiment_name mixed"
    outcome = bench(f"{config} {flags}", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert bench.records(tmp_path / "mixed") == bench.records(shipped[0])
    assert tensors(bench, tmp_path / "mixed") == tensors(bench, shipped[0])


def test_the_hosts_runner_reads_our_experiment(
    bench: Any, run_host: Callable[..., None], shipped: tuple[Path, Path], tmp_path: Path
) -> None:
    """Our saved configs and checkpoints are the host's: it evaluates them by itself."""
    folder = shutil.copytree(shipped[1], tmp_path / "ours")
    run_host(f"--experiment_name ours --evaluate --splits_to_eval [test] {HOST_PARTS}", tmp_path)
    tables = {t: rows for t, rows in bench.records(folder).items() if t.endswith("_TEST")}
    assert len(tables) == 3
    assert all(tables.values())
