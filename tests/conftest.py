"""Shared parts: tiny data sets and models, and tiny experiments of the host in seconds."""

import copy
import errno
import fcntl
import functools
import io
import json
import logging
import os
import resource
import sqlite3
import subprocess
import sys
import uuid
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: tiny models, and equal everywhere

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from powerful_benchmarker.api_parsers import BaseAPIParser
from torch import Tensor, nn
from torch.utils.data import Dataset

from slade_plugin import cli, compat
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.seeding import generator_states
from slade_plugin.data.datasets import Glyphs
from slade_plugin.host.api_parsers import APISladePseudoLabels, APISladeStudent
from slade_plugin.host.api_parsers.seeded import seeded
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.pipeline import Pipeline

compat.apply()


def _parse_once() -> None:
    """Keep what `yaml.safe_load` makes of a text: parsing configs is 40 % of a tiny run."""
    parse = yaml.safe_load
    kept = functools.cache(parse)

    def safe_load(stream: Any) -> Any:
        text = stream if isinstance(stream, str | bytes) else stream.read()
        try:
            return copy.deepcopy(kept(text))
        except yaml.YAMLError:
            if text is not stream:  # the message names the file
                stream.seek(0)
            return parse(stream)

    yaml.safe_load = safe_load


_parse_once()

DIM = 8  # of points and of embeddings


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks."""

    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


class Blobs(Dataset[dict[str, Any]]):
    """Points around centres at right angles, in the host's form: a data set that cannot be missed.

    With little noise a class is separable; the pool has other centres than the labeled images.
    """

    def __init__(
        self,
        root: str = "",
        transform: Any = None,
        download: bool = False,
        subset: str = "labeled",
        classes: int = 8,
        per_class: int = 12,
        noise: float = 0.02,
        seed: int = 0,
    ) -> None:
        self.transform = transform  # kept, as the host compares it; points need none
        rng = np.random.default_rng([seed, ["labeled", "unlabeled"].index(subset)])
        centres = np.linalg.qr(rng.normal(size=(DIM, DIM)))[0][:classes]
        self.labels = np.repeat(np.arange(classes), per_class)
        noises = noise * rng.normal(size=(len(self.labels), DIM))
        self.points = torch.tensor(3 * centres[self.labels] + noises, dtype=torch.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"data": self.points[index], "label": int(self.labels[index])}


class TinyTrunk(nn.Module):
    """A trunk with a batch norm, since its statistics are state beside the parameters."""

    mean = (0.5,)
    std = (0.5,)
    input_space = None
    input_range = (0, 1)

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, hidden, bias=False)
        self.norm = nn.BatchNorm1d(hidden)
        self.fc: nn.Module = nn.Linear(hidden, 1)  # the host puts the identity in its place

    def forward(self, points: Tensor) -> Tensor:
        return self.fc(self.norm(self.linear(points)))  # without ReLU: no two blobs fall together


@pytest.fixture(scope="session")
def blobs() -> type[Blobs]:
    return Blobs


@pytest.fixture(scope="session")
def tiny_trunk() -> Callable[[], nn.Module]:
    """A trunk as the host's model factory leaves it: `fc` is the identity."""

    def make() -> nn.Module:
        trunk = TinyTrunk()
        trunk.fc = nn.Identity()
        return trunk

    return make


@pytest.fixture(scope="session")
def stand() -> Callable[[], Any]:
    """Says where all generators stand, as something that == compares."""

    def read() -> Any:
        states = generator_states()
        numpy = [(states[name][1].tolist(), states[name][2:]) for name in ("numpy", "host")]
        return states["python"], states["torch"].tolist(), numpy

    return read


@pytest.fixture(scope="session")
def glyphs_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set folder with the smallest Glyphs: 6 labeled classes, 24 in the pool."""
    root = tmp_path_factory.mktemp("glyphs_root")
    Glyphs(root, letters_per_script=6, instances_per_face=1)
    return root


@pytest.fixture(scope="session")
def full_getter() -> Any:
    """The getter of our runner, which also knows the tiny parts."""
    runner = SladeRunner()
    runner.register("dataset", Blobs)
    runner.register("model", TinyTrunk)
    return runner.pytorch_getter


_COMMON: dict[str, Any] = {
    "seed": 0,
    "dataset": {"Blobs": {"subset": "labeled"}},
    "dataset_root": "",
    "splits_to_eval": ["val"],
    "split_manager": {
        "ClassDisjointSplitManager": {
            "test_size": 0.5,
            "test_start_idx": 0.5,
            "num_training_partitions": 2,
            "num_training_sets": 2,
            "hierarchy_level": 0,
            "data_and_label_getter_keys": ["data", "label"],
        }
    },
    "transforms": {"train": {}, "eval": {}},
    "models": {"trunk": {"TinyTrunk": {}}, "embedder": {"MLP": {"layer_sizes": [DIM]}}},
    "sampler": {"MPerClassSampler": {"m": 4, "length_before_new_iter": 64}},
    "mining_funcs": {},
    "loss_funcs": {"metric_loss": {"ContrastiveLoss": {}}},
    "optimizers": {
        "trunk_optimizer": {"Adam": {"lr": 0.001}},
        "embedder_optimizer": {"Adam": {"lr": 0.001}},
    },
    "trainer": {
        "MetricLossOnly": {
            "iterations_per_epoch": 2,
            "dataloader_num_workers": 0,
            "batch_size": 8,
            "set_min_label_to_zero": True,
        }
    },
    "tester": {
        "SladeTester": {
            "reference_set": "compared_to_self",
            "normalize_embeddings": True,
            "batch_size": 32,
            "dataloader_num_workers": 0,
            "accuracy_calculator": {"AccuracyCalculator": {}},
            "label_hierarchy_level": 0,
        }
    },
    "aggregator": {"MeanAggregator": {"split_to_aggregate": "val"}},
    "ensemble": {"ConcatenateEmbeddings": {}},
    "hook_container": {
        "CheckpointedHookContainer": {
            "primary_metric": "mean_average_precision_at_r",
            "validation_split_name": "val",
        }
    },
    "factories": {
        "model": {"ModelFactory": {}},
        "loss": {"SladeLossFactory": {}},
        "miner": {"SladeMinerFactory": {}},
        "sampler": {"SamplerFactory": {}},
        "optimizer": {"SladeOptimizerFactory": {}},
        "tester": {"TesterFactory": {}},
        "trainer": {"TrainerFactory": {}},
        "transform": {"TransformFactory": {}},
        "split_manager": {"SladeSplitManagerFactory": {}},
        "record_keeper": {"RecordKeeperFactory": {}},
        "hook": {"HookFactory": {}},
        "aggregator": {"AggregatorFactory": {}},
        "ensemble": {"EnsembleFactory": {}},
    },
    "num_epochs_train": 2,
    "save_interval": 1,
    "patience": None,
    "check_untrained_accuracy": False,
    "skip_eval_if_already_done": True,
    "log_data_to_tensorboard": False,
    "save_figures_on_tensorboard": False,
    "save_lists_in_db": False,
    "override_required_compatible_factories": False,
    "resume_training": None,
    "evaluate": False,
    "evaluate_ensemble": False,
    "dict_of_yamls": {},
}
_STUDENT: dict[str, Any] = {
    "unlabeled_dataset": {"Blobs": {"subset": "unlabeled"}},
    "unlabeled_sampler": {"MPerClassSampler": {"m": 4, "length_before_new_iter": 96}},
    "loss_funcs": {
        "metric_loss": {"ContrastiveLoss": {}},
        "unlabeled_metric_loss": {"ContrastiveLoss": {}},
        "basis_loss": {"FeatureBasisLoss": {"embedding_size": DIM}},
    },
    "mining_funcs": {"unlabeled_tuple_miner": {"BasisSimilarityMiner": {}}},
    "optimizers": {
        **_COMMON["optimizers"],
        "basis_loss_optimizer": {"Adam": {"lr": 0.001}},
    },
    "trainer": {
        "SladeStudent": {
            **_COMMON["trainer"]["MetricLossOnly"],
            "unlabeled_batch_size": 16,
            "loss_weights": {
                "metric_loss": 1,
                "unlabeled_metric_loss": 1,
                "basis_loss": 0.25,
            },
        }
    },
    "pseudo_labels": {
        "folder": None,
        "clusterer": {"KMeans": {"num_clusters": 8, "num_restarts": 30}},
    },
    "student_initialization": "pretrained",
    "teacher_experiment": None,
}


@pytest.fixture(scope="session")
def experiment_args() -> Callable[..., Namespace]:
    """Makes the merged config of a teacher (`student=False`) or of a student on Blobs."""

    def make(folder: Path, student: bool = True, **changes: Any) -> Namespace:
        config = _COMMON | (_STUDENT if student else {}) | changes
        return Namespace(
            experiment_name=folder.name,
            experiment_folder=str(folder),
            place_to_save_configs=str(folder / "configs"),
            **copy.deepcopy(config),
        )

    return make


@pytest.fixture(scope="session")
def make_parser(full_getter: Any) -> Callable[..., Any]:
    """Makes an API parser as our runner does."""

    def make(args: Namespace, cls: type = APISladeStudent) -> Any:
        return seeded(cls)(args=args, pytorch_getter=full_getter)

    return make


@pytest.fixture(scope="session")
def teacher_experiment(
    tmp_path_factory: pytest.TempPathFactory,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> Path:
    """A teacher on Blobs, trained for two epochs on two split schemes. Read only."""
    folder = tmp_path_factory.mktemp("pipeline") / "teacher"
    make_parser(experiment_args(folder, student=False), BaseAPIParser).run()
    return folder


@pytest.fixture(scope="session")
def pseudo_label_folder(
    teacher_experiment: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> Path:
    """The pseudo labels of `teacher_experiment` for both split schemes. Read only."""
    folder = teacher_experiment.parent / "pseudo_labels"
    pseudo_labels = _STUDENT["pseudo_labels"] | {"folder": str(folder)}
    args = experiment_args(
        folder, pseudo_labels=pseudo_labels, teacher_experiment=str(teacher_experiment)
    )
    make_parser(args, APISladePseudoLabels).run()
    return folder


# ---- full disks and other processes -------------------------------------------------------------


class SmallDisk:
    """A folder on a disk of its own that can be filled.

    Where no file system may be mounted, a limit on the size of a file stands for the full disk.

    Attributes:
        folder: On the disk.
        mounted: Whether it is a file system of its own.
    """

    def __init__(self, folder: Path, megabytes: int = 16) -> None:
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        try:
            self.mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        except OSError:
            self.mounted = False
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self._filling = folder / ".filling"

    def leave(self, size: int) -> None:
        """Leaves so many bytes of room."""
        self.free()
        if self.mounted:
            found = os.statvfs(self.folder)
            self._filling.write_bytes(bytes(max(0, found.f_bavail * found.f_frsize - size)))
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, self._limits[1]))

    def free(self) -> None:
        """Makes room again."""
        self._filling.unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)

    def temporary_files(self) -> list[str]:
        """What a writer would have left behind."""
        ends = (".part", ".tmp")
        return [str(p) for p in self.folder.rglob("*") if p.name.endswith(ends)]

    def close(self) -> None:
        """Gives the disk back."""
        self.free()
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk that a test can fill."""
    disk = SmallDisk(tmp_path / "disk")
    yield disk
    disk.close()


_HOLDER = """
import sys
from slade_plugin.base.locks import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold() -> Iterator[Callable[[Path], "subprocess.Popen[str]"]]:
    """Starts a process that holds the lock of a folder until it is ended."""
    with ExitStack() as stack:

        def start(folder: Path) -> "subprocess.Popen[str]":
            words = [sys.executable, "-c", _HOLDER, str(folder)]
            process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            return process

        yield start


# ---- whole commands -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str


class Bench:
    """Runs `run.py` in this process and reads what it leaves."""

    def __init__(self, dataset_root: Path) -> None:
        self.dataset_root = dataset_root

    def on(self, dataset_root: Path) -> "Bench":
        """The same with data sets elsewhere."""
        return Bench(dataset_root)

    def __call__(self, *flags: str, root: Path | None) -> Outcome:
        """Runs a command line.

        Args:
            *flags: Flags and values, several in one text or each on its own.
            root: Folder of the experiments; None leaves it, and the data, to the command line.
        """
        words = [word for text in flags for word in text.split(" ") if word]
        if root is not None:
            words += ["--root_experiment_folder", str(root)]
            words += ["--dataset_root", str(self.dataset_root)]
        return self.run_words(words)

    @staticmethod
    def run_words(words: Sequence[str]) -> Outcome:
        """Runs a command line as a shell would pass it on, without the program's name."""
        loggers = [logging.getLogger(), logging.getLogger("slade_plugin")]
        levels = [logger.level for logger in loggers]
        out, err = io.StringIO(), io.StringIO()
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["run.py", *words])
                # Power cuts are not tested here; waiting for the disk is most of a tiny run.
                patch.setattr(os, "fsync", lambda descriptor: None)
                patch.setattr(sqlite3, "connect", _connect_without_waiting)
                with redirect_stdout(out), redirect_stderr(err):
                    code = cli.main()
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
        return Outcome(code, out.getvalue(), err.getvalue())

    @staticmethod
    def config(*flags: str) -> SimpleNamespace:
        """The merged config of a command line, without running anything."""
        runner = _runner(flags)
        return runner.read(runner.YR)

    @staticmethod
    def stages(*flags: str) -> dict[str, Any]:
        """The merged configs of the stages of a self-training command, by name."""
        runner = _runner(flags)
        return Pipeline(runner, runner.reader_for(runner.YR)).args

    @staticmethod
    def tiny(schemes: int = 1, epochs: int = 1, iterations: int = 1) -> str:
        """Flags that make any experiment a matter of a second."""
        return (
            "--dataset {Glyphs: {letters_per_script: 8, instances_per_face: 1}} "
            f"--split_manager~APPLY~2 {{num_training_partitions: 2, num_training_sets: {schemes}}} "
            "--models {trunk~OVERRIDE~: {conv4: {hidden_size: 8}}, "
            "embedder~OVERRIDE~: {MLP: {layer_sizes: [16]}}} "
            f"--log_data_to_tensorboard False --save_interval 1 --num_epochs_train {epochs} "
            f"--trainer~APPLY~2 {{iterations_per_epoch: {iterations}, batch_size: 16}} "
            "--sampler~APPLY~2 {length_before_new_iter: 64}"
        )

    @classmethod
    def tiny_student(
        cls, config: str = "slade", schemes: int = 1, epochs: int = 1, iterations: int = 1
    ) -> str:
        """The same for self-training."""
        every = cls.tiny(schemes, epochs, iterations)
        for key in ("num_epochs_train", "save_interval", "trainer", "sampler"):
            every = every.replace(f"--{key}", f"--every.{key}")
        basis = "--loss_funcs {basis_loss: {FeatureBasisLoss: {embedding_size: 16}}}"
        has_basis = not config.endswith("pseudo_label")
        clusters = "--pseudo_labels {clusterer: {KMeans: {num_clusters: 8}}} "
        return (
            f"--config_loss {config} {every} --trainer~APPLY~2 "
            f"{{unlabeled_batch_size: 16, basis_warmup_iterations: {int(has_basis)}}} "
            "--unlabeled_dataset {Glyphs: {letters_per_script: 8, instances_per_face: 1}} "
            "--unlabeled_sampler~APPLY~2 {length_before_new_iter: 64} "
            + (clusters if config != "slade_oracle" else "")
            + (basis if has_basis else "")
        )

    @staticmethod
    def tiny_photographs(config: str = "slade") -> str:
        """Flags that make self-training on RGB image files a matter of seconds.

        The data set's own transforms shrink to 32 px; its splits stay, one split scheme of them.
        """
        return (
            f"--config_loss {config} --split_manager~APPLY~2 "
            "{num_training_sets: 1} --transforms {train: {Resize: {size: 36}, "
            "RandomResizedCrop: {size: 32}}, eval: {Resize: {size: 36}, CenterCrop: {size: 32}}} "
            "--models {trunk~OVERRIDE~: {conv4: {in_channels: 3, hidden_size: 8}}, "
            "embedder~OVERRIDE~: {MLP: {layer_sizes: [16]}}} --log_data_to_tensorboard False "
            "--loss_funcs {basis_loss: {FeatureBasisLoss: {embedding_size: 16}}} "
            "--every.num_epochs_train 1 --every.save_interval 1 --every.trainer~APPLY~2 "
            "{iterations_per_epoch: 2, batch_size: 8, dataloader_num_workers: 0} "
            "--tester~APPLY~2 {dataloader_num_workers: 0} "
            "--trainer~APPLY~2 {unlabeled_batch_size: 8, basis_warmup_iterations: 1} "
            "--every.sampler~APPLY~2 {length_before_new_iter: 16} "
            "--unlabeled_sampler~APPLY~2 {length_before_new_iter: 16} "
            "--pseudo_labels {clusterer: {KMeans: {num_clusters: 4}}} "
        )

    @staticmethod
    def records(folder: Path) -> dict[str, list[dict[str, Any]]]:
        """Every row of every table of an experiment, without times, by database and table."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(folder.rglob("*.db")):
            with closing(sqlite3.connect(path)) as database:
                database.row_factory = sqlite3.Row
                names = database.execute("SELECT name FROM sqlite_master WHERE type='table'")
                for name in sorted(row["name"] for row in names.fetchall()):
                    if name.startswith("sqlite_"):
                        continue
                    found = [dict(row) for row in database.execute(f"SELECT * FROM [{name}]")]
                    for row in found:
                        row.pop("timestamp", None)
                    rows[f"{path.relative_to(folder)}: {name}"] = found
        return rows

    @staticmethod
    def tensors(folder: Path) -> dict[str, Any]:
        """The content of every checkpoint file, as something that == compares bit for bit."""

        def plain(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
            if isinstance(value, dict):
                return {key: plain(inner) for key, inner in value.items()}
            if isinstance(value, list | tuple):
                return [plain(v) for v in value]
            return repr(value) if isinstance(value, float) else value  # NaN is NaN

        return {
            str(path.relative_to(folder)): plain(torch.load(path, weights_only=True))
            for path in sorted(folder.rglob("*.pth"))
        }

    @staticmethod
    def snapshot(folder: Path) -> dict[str, tuple[int, str]]:
        """Every file with its time of change and the hash of its content."""
        return {
            str(path.relative_to(folder)): (path.stat().st_mtime_ns, sha256_of_file(path))
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


_connect = sqlite3.connect


def _connect_without_waiting(*args: Any, **kwargs: Any) -> sqlite3.Connection:
    connection = _connect(*args, **kwargs)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def _runner(flags: Sequence[str]) -> SladeRunner:
    words = [word for text in flags for word in text.split(" ") if word]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run.py", *words])
        runner = SladeRunner()
        runner.set_YR()
    return runner


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Runs commands on Glyphs so small that a whole pipeline takes a second."""
    root = tmp_path_factory.mktemp("datasets")
    Glyphs(root, letters_per_script=8, instances_per_face=1)
    return Bench(root)


@pytest.fixture(scope="session")
def finished(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished pipeline `slade_seed0` of two split schemes and two epochs. Read only."""
    root = tmp_path_factory.mktemp("finished")
    outcome = bench(bench.tiny_student(schemes=2, epochs=2, iterations=2), root=root)
    assert outcome.code == 0, outcome.err
    return root / "slade_seed0"


# Stands for run.py where many runs are wanted: notes how it was called and leaves what a finished
# run leaves. behaviour.json beside it says by config_loss: an exit code, or "wait".
_STUB = """
import json, os, signal, sys, time
from pathlib import Path

words = sys.argv[1:]
def value(flag, default=None):
    return words[words.index(flag) + 1] if flag in words else default

here = Path(__file__).parent
loss, seed = value("--config_loss"), int(value("--seed"))
folder = Path(value("--root_experiment_folder")) / value("--experiment_name")
variables = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
call = {"loss": loss, "seed": seed, "flags": words, "pid": os.getpid(), **variables}
with open(here / "calls.jsonl", "a") as file:
    file.write(json.dumps(call) + chr(10))
print("log of", loss, flush=True)  # it may be killed
folder.mkdir(parents=True, exist_ok=True)
machine = {"cores": 2, "processor": "abacus", "torch_threads": 1, "gpu": None}
environment = {"slade_plugin": "9.9", "git_commit": f"commit{seed}", "python": "3.1",
               "packages": {"torch": "1.2.3"}, "machine": machine}
state = {"environment": [environment], "plan": {}, "stages": {
    "teacher": {"cpu_seconds": 30 + seed}, "student": {"cpu_seconds": 60 + seed, "seconds": 999}}}
(folder / "pipeline.json").write_text(json.dumps(state))
behaviour = json.loads((here / "behaviour.json").read_text()).get(loss)
if behaviour == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
if behaviour in ("wait", "deaf"):
    try:
        (folder / "waiting").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
    except KeyboardInterrupt:
        (folder / "interrupted").touch()
        sys.exit(130)
if isinstance(behaviour, int):
    sys.exit(behaviour)
scores = {"teacher": 9 + seed, "student": 20 + len(loss) + seed ** 2}
if "{baseline: false}" not in " ".join(words):
    scores["baseline"] = 10 + seed
rows = []
for name, score in scores.items():
    for split, number in (("val", score - 1), ("test", score)):
        for scheme, shift in (("s0", 50), ("mean", 0), ("s1", -50)):
            metrics = dict.fromkeys(
                ("mean_average_precision_at_r", "r_precision", "precision_at_1"), number + shift)
            rows.append({"experiment": name, "split": split, "split_scheme": scheme, **metrics})
(folder / "results").mkdir(exist_ok=True)
(folder / "results" / "table.json").write_text(json.dumps({"rows": rows}))
"""


@dataclass(frozen=True)
class StubRuns:
    """A program in the place of run.py, see `_STUB`."""

    folder: Path

    @property
    def program(self) -> tuple[str, ...]:
        return sys.executable, "-S", str(self.folder / "stub.py")

    def behave(self, **by_loss: int | str) -> None:
        (self.folder / "behaviour.json").write_text(json.dumps(by_loss))

    def calls(self) -> list[dict[str, Any]]:
        path = self.folder / "calls.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def order(self) -> list[tuple[int, str]]:
        return [(call["seed"], call["loss"]) for call in self.calls()]


@pytest.fixture
def stub_runs(tmp_path_factory: pytest.TempPathFactory) -> StubRuns:
    stub = StubRuns(tmp_path_factory.mktemp("stub"))
    (stub.folder / "stub.py").write_text(_STUB)
    stub.behave()
    return stub


# ---- image files in the layouts of the real data sets -------------------------------------------


def _write_bird_lists(
    folder: Path, rows: list[tuple[str, str, int]], names: dict[int, str]
) -> None:
    """The list files of CUB-200-2011 and NABirds, and a small photograph for each row.

    Args:
        folder: Where to.
        rows: (image id, path, class id).
        names: Class id -> name, in the order of classes.txt.
    """
    rng = np.random.default_rng(len(rows))
    colours = {k: rng.integers(0, 256, 3) for k in names}
    for number, (_, path, k) in enumerate(rows):
        noise = rng.integers(-20, 20, (18 + number % 3, 24, 3))
        image = Image.fromarray(np.clip(colours[k] + noise, 0, 255).astype(np.uint8))
        (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
        # Some photographs of both are grey.
        (image.convert("L") if number == 1 else image).save(folder / "images" / path)
    lists = {
        "images": [(i, path) for i, path, _ in rows],
        "image_class_labels": [(i, k) for i, _, k in rows],
        "train_test_split": [(i, n % 2) for n, (i, _, _) in enumerate(rows)],
        "classes": names.items(),
    }
    for name, entries in lists.items():
        text = "".join(f"{key} {value}\n" for key, value in entries)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")


def _write_cub200(folder: Path, classes: int, images: int) -> None:
    species = "Black_footed_Albatross Laysan_Albatross Sooty_Albatross Groove_billed_Ani".split()
    names = {k + 1: f"{k + 1:03d}.{species[k % 4]}" for k in range(classes)}
    rows = []
    for k, name in names.items():
        for i in range(images):  # as in the real one, ids are not in the order of the names
            file = f"{name[4:].title()}_{images - i:04d}_{796111 - i}.jpg"
            rows.append((str(len(rows) + 1), f"{name}/{file}", k))
    _write_bird_lists(folder, rows, names)
    boxes = "".join(f"{i} 2.0 3.0 {10 + n % 3}.0 8.0\n" for n, (i, _, _) in enumerate(rows))
    (folder / "bounding_boxes.txt").write_text(boxes)
    (folder / "README").write_text("Caltech-UCSD Birds-200-2011\n")


def _write_nabirds(folder: Path, classes: int, images: int) -> None:
    """Sparse ids of leaves, names with spaces and beyond ASCII, files of other systems."""
    leaves = range(295, 295 + 65 * classes, 65)
    names = {0: "Birds", 1: "Ducks, Geese, and Swans"} | {
        k: f"Bird {k} (Female/juvenile)" if n else "Rüppell's Warbler" for n, k in enumerate(leaves)
    }
    rows = []
    for n in range(classes * images):  # in the order of ids that say nothing of the class
        k, image_id = leaves[n % classes], str(uuid.UUID(int=n * 0x9E3779B97F4A7C15F39CC060))
        rows.append((image_id, f"{k:04d}/{image_id.replace('-', '')}.jpg", k))
    rows.sort()
    _write_bird_lists(folder, rows, names)
    lists = {
        "bounding_boxes": [(i, "1 2 12 9") for i, _, _ in rows],
        "sizes": [(i, "24 18") for i, _, _ in rows],
        "photographers": [(i, "Zoë Doe") for i, _, _ in rows],
        "hierarchy": [(1, 0), *((k, 1) for k in leaves)],
    }
    for name, entries in lists.items():
        text = "".join(f"{key} {value}\n" for key, value in entries)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    for path in (folder / "images" / rows[0][1], folder / "images.txt"):
        path.with_name(f"._{path.name}").write_bytes(b"\0\x05\x16\x07")


@pytest.fixture(scope="session")
def make_birds() -> Callable[..., Path]:
    """Makes CUB-200-2011 and NABirds, small, below a `dataset_root`, which is returned."""

    def make(root: Path, classes: int = 8, images: int = 4) -> Path:
        _write_cub200(root / "cub2011" / "CUB_200_2011", classes, images)
        _write_nabirds(root / "nabirds", classes, images)
        return root

    return make


@pytest.fixture(scope="session")
def birds_root(tmp_path_factory: pytest.TempPathFactory, make_birds: Callable[..., Path]) -> Path:
    """8 classes of 4 images each. Read only."""
    return make_birds(tmp_path_factory.mktemp("birds"))
