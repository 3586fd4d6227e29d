"""Shims that run the host, powerful-benchmarker 0.9.33, on current libraries.

Each shim fixes one fault of the host on current libraries, or silences it. It states the reason and
can be undone. None changes a measured number. Installed packages stay untouched: shims only set
attributes in this process. Nothing heavy is imported before `apply` is called.

The host's t-SNE visualizer needs no shim: scikit-learn renamed ``n_iter``, so use ``max_iter`` in
its config.
"""

import functools
import glob
import importlib
import importlib.util
import json
import os
import sqlite3
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from slade_plugin.base.files import atomic_folder, atomic_write

Undo = Callable[[], None]


class Shim(NamedTuple):
    """One fix.

    Attributes:
        name: Short name, used by `undo`.
        reason: What broke and the symptom without the shim.
        install: Applies the fix and returns a function that undoes it.
    """

    name: str
    reason: str
    install: Callable[[], Undo]


def _nothing() -> None:
    """Undo a shim that was not needed."""


def _set(target: Any, name: str, value: object) -> Undo:
    """Set a missing attribute; keep an existing one."""
    if name in vars(target):
        return _nothing
    setattr(target, name, value)
    return functools.partial(delattr, target, name)


def _replace(target: Any, name: str, value: object) -> Undo:
    """Replace an existing attribute."""
    original = getattr(target, name)
    setattr(target, name, value)
    return functools.partial(setattr, target, name, original)


def _all(undos: Sequence[Undo]) -> Undo:
    """Undo several changes."""

    def undo() -> None:
        for one in undos:
            one()

    return undo


def _numpy_int() -> Undo:
    return _set(importlib.import_module("numpy"), "int", int)


@contextmanager
def _read_csv_with_delim_whitespace() -> Iterator[None]:
    """Let ``pandas.read_csv`` accept ``delim_whitespace`` inside the block."""
    pandas: Any = importlib.import_module("pandas")
    original = pandas.read_csv

    @functools.wraps(original)
    def read_csv(*args: Any, delim_whitespace: bool = False, **kwargs: Any) -> Any:
        if delim_whitespace:
            kwargs["sep"] = r"\s+"
        return original(*args, **kwargs)

    pandas.read_csv = read_csv
    try:
        yield
    finally:
        pandas.read_csv = original


def _pandas_whitespace() -> Undo:
    # The loader imports read_csv inside the method, so there is no module attribute to replace.
    # pandas itself is patched only while it runs.
    module = importlib.import_module("powerful_benchmarker.datasets.stanford_online_products")
    dataset: Any = module.StanfordOnlineProducts
    original = dataset.load_labels

    @functools.wraps(original)
    def load_labels(self: Any) -> None:
        with _read_csv_with_delim_whitespace():
            original(self)

    return _replace(dataset, "load_labels", load_labels)


def _sampler_logging() -> Undo:
    module = importlib.import_module("powerful_benchmarker.factories.sampler_factory")
    return _set(module, "logging", importlib.import_module("logging"))


def _mined_triplets() -> Undo:
    torch: Any = importlib.import_module("torch")
    module = importlib.import_module("pytorch_metric_learning.utils.loss_and_miner_utils")
    original = module.convert_to_triplets

    @functools.wraps(original)
    def convert_to_triplets(indices_tuple: Any, labels: Any, *args: Any, **kwargs: Any) -> Any:
        if indices_tuple is not None and len(indices_tuple) == 4:
            a1, _, a2, _ = indices_tuple
            if not torch.isin(a1, a2).any():
                return [labels.new_empty(0, dtype=torch.int64) for _ in range(3)]
        return original(indices_tuple, labels, *args, **kwargs)

    return _replace(module, "convert_to_triplets", convert_to_triplets)


def _one_sided_pairs() -> Undo:
    module = importlib.import_module("pytorch_metric_learning.losses.generic_pair_loss")

    def pair_based_loss(self: Any, mat: Any, labels: Any, indices_tuple: Any) -> Any:
        a1, p, a2, n = indices_tuple
        return self._compute_loss(mat[a1, p], mat[a2, n], indices_tuple)

    return _replace(module.GenericPairLoss, "pair_based_loss", pair_based_loss)


def _lists_in_records() -> Undo:
    database: Any = importlib.import_module("record_keeper.db_utils").DBManager
    original = database.write

    @functools.wraps(original)
    def write(
        self: Any,
        table_name: str,
        dict_of_lists: Mapping[str, Sequence[Any]],
        experiment_name: str | None = None,
    ) -> None:
        lists = {name for name, rows in dict_of_lists.items() if isinstance(rows[0], list)}
        if not lists:
            original(self, table_name, dict_of_lists, experiment_name=experiment_name)
            return
        # The host names the column of a list "<name>_list" and then looks that name up in the
        # records. Given encoded rows under that name and existing columns, its own code works;
        # the column type "json" makes it decode lists when reading.
        records = {
            f"{name}_list" if name in lists else name: (
                [json.dumps(row).encode() for row in rows] if name in lists else rows
            )
            for name, rows in dict_of_lists.items()
        }
        types_of_columns = {
            name: "json" if isinstance(rows[0], bytes) else _column_type(rows[0])
            for name, rows in records.items()
        }
        _ensure_columns(self, table_name, types_of_columns)
        original(self, table_name, records, experiment_name=experiment_name)

    return _replace(database, "write", write)


def _column_type(value: object) -> str:
    """Map a value to a column type of record-keeper."""
    if isinstance(value, str):
        return "text"
    return "timestamp" if type(value).__name__ == "datetime" else "real"


def _ensure_columns(database: Any, table: str, types_of_columns: Mapping[str, str]) -> None:
    """Create a table of record-keeper, or the columns it lacks."""
    if not database.table_exists(table):
        columns = [f"[{name}] {kind}" for name, kind in types_of_columns.items()]
        if database.is_global:
            columns.insert(
                0,
                "experiment_id integer REFERENCES experiment_ids(id) "
                "ON UPDATE CASCADE ON DELETE CASCADE",
            )
        database.execute(
            f"CREATE TABLE [{table}] (id integer primary key autoincrement, {', '.join(columns)})"
        )
        return
    rows: list[sqlite3.Row] = database.query(f"PRAGMA table_info([{table}])")
    present = {row["name"] for row in rows}
    for name, kind in types_of_columns.items():
        if name not in present:
            database.execute(f"ALTER TABLE [{table}] ADD COLUMN [{name}] {kind}")


def _whole_config_files() -> Undo:
    module: Any = importlib.import_module("powerful_benchmarker.utils.common_functions")
    yaml = module.yaml
    save_all = module.save_config_files

    def write_yaml(fname: str, input_dict: Any, open_as: str) -> None:
        before = b""
        if open_as == "a" and os.path.exists(fname):
            with open(fname, "rb") as file:
                before = file.read()
        text = yaml.dump(input_dict, default_flow_style=False, sort_keys=False)
        with atomic_write(fname) as file:
            file.write(before + text.encode())

    @functools.wraps(save_all)
    def save_config_files(config_folder: str, *args: Any, **kwargs: Any) -> None:
        if os.path.exists(config_folder):
            save_all(config_folder, *args, **kwargs)
        else:
            with atomic_folder(config_folder) as folder:
                save_all(str(folder), *args, **kwargs)

    return _all(
        [
            _replace(module, "write_yaml", write_yaml),
            _replace(module, "save_config_files", save_config_files),
        ]
    )


def _names_with_brackets() -> Undo:
    modules = (
        "powerful_benchmarker.utils.common_functions",
        "powerful_benchmarker.runners.single_experiment_runner",
        "pytorch_metric_learning.utils.common_functions",
    )

    def find(pattern: str) -> list[str]:
        folder, name = os.path.split(pattern)
        return glob.glob(os.path.join(glob.escape(folder), name))

    stand_in = types.SimpleNamespace(glob=find)
    return _all([_replace(importlib.import_module(name), "glob", stand_in) for name in modules])


def _closed_databases() -> Undo:
    database: Any = importlib.import_module("record_keeper.db_utils").DBManager
    original = database.execute

    @functools.wraps(original)
    def execute(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        finally:
            if getattr(self, "conn", None) is not None:  # None: it could not be opened
                self.conn.close()
                self.conn = None

    return _replace(database, "execute", execute)


def _silent_bars() -> Undo:
    tqdm: Any = importlib.import_module("tqdm")
    silent = types.SimpleNamespace(tqdm=functools.partial(tqdm.tqdm, disable=True))
    undos = [
        _replace(importlib.import_module(f"pytorch_metric_learning.{name}"), "tqdm", silent)
        for name in ("trainers.base_trainer", "testers.base_tester")
    ]
    # The bar's text is still formatted. The filter holds for the whole process.
    warnings.filterwarnings("ignore", "Converting a tensor with requires_grad=True", UserWarning)
    added: Any = warnings.filters[0]

    def undo_all() -> None:
        if added in warnings.filters:
            warnings.filters.remove(added)  # type: ignore[attr-defined]
        for undo_one in undos:
            undo_one()

    return undo_all


class _SilentFaiss:
    """Proxy of faiss whose `Clustering` does not ask for more images."""

    def __init__(self, faiss: Any) -> None:
        self._faiss = faiss

    def __getattr__(self, name: str) -> Any:
        return getattr(self._faiss, name)

    def Clustering(self, *args: Any) -> Any:
        clustering = self._faiss.Clustering(*args)
        clustering.min_points_per_centroid = 1  # faiss only warns below it
        return clustering


def _silent_clustering() -> Undo:
    module: Any = importlib.import_module("pytorch_metric_learning.utils.stat_utils")
    return _replace(module, "faiss", _SilentFaiss(module.faiss))


def _ax_best_point() -> Undo:
    module: Any = importlib.import_module("ax.service.utils.best_point")

    def get_best_raw_objective_point(experiment: Any) -> Any:
        _, parameters, (means, covariances) = module.get_best_raw_objective_point_with_trial_index(
            experiment
        )
        values = {name: (mean, covariances[name][name] ** 0.5) for name, mean in means.items()}
        return parameters, values

    return _set(module, "get_best_raw_objective_point", get_best_raw_objective_point)


def _ax_modelbridge() -> Undo:
    if importlib.util.find_spec("ax.modelbridge") is not None:
        return _nothing
    generators: Any = importlib.import_module("ax.adapter.registry").Generators
    package, registry = "ax.modelbridge", "ax.modelbridge.registry"
    sys.modules[package] = types.ModuleType(package)
    sys.modules[registry] = types.ModuleType(registry)
    _set(sys.modules[registry], "Models", types.SimpleNamespace(GPEI=generators.BOTORCH_MODULAR))

    def forget() -> None:
        for name in (package, registry):
            sys.modules.pop(name, None)

    return forget


def _ax_contour() -> Undo:
    module: Any = importlib.import_module("ax.plot.contour")
    return _set(module, "interact_contour", module.interact_contour_plotly)


SHIMS: tuple[Shim, ...] = (
    Shim(
        "numpy_int",
        "NumPy 1.24 removed np.int, which pytorch-metric-learning 0.9.92 uses in its sampler, "
        "label mapper and metrics: AttributeError: module 'numpy' has no attribute 'int'.",
        _numpy_int,
    ),
    Shim(
        "pandas_whitespace",
        "pandas 3 removed delim_whitespace, which StanfordOnlineProducts uses to read its lists: "
        "TypeError: read_csv() got an unexpected keyword argument.",
        _pandas_whitespace,
    ),
    Shim(
        "sampler_logging",
        "The host's sampler factory logs without importing logging. A sampler with "
        "length_before_new_iter: dataset_length gives NameError: name 'logging' is not defined.",
        _sampler_logging,
    ),
    Shim(
        "mined_triplets",
        "Triplet losses form no triplet from mined pairs if no anchor has both a positive and a "
        "negative. torch's error for an empty list is not the type that the host catches: "
        "ValueError: torch.cat(): expected a non-empty list of Tensors.",
        _mined_triplets,
    ),
    Shim(
        "one_sided_pairs",
        "NTXentLoss on positive pairs alone and LiftedStructureLoss on negative pairs alone, as a "
        "miner may return them, fail instead of returning 0: AttributeError: 'list' object has no "
        "attribute 'dtype'.",
        _one_sided_pairs,
    ),
    Shim(
        "lists_in_records",
        "record-keeper cannot store a list as a record, e.g. a learned beta per class with "
        "save_lists_in_db: True: KeyError: 'beta_list'.",
        _lists_in_records,
    ),
    Shim(
        "whole_config_files",
        "The host writes the configs of an experiment one by one and in place. A full disk leaves "
        "some of them, and the experiment can be neither resumed nor restarted.",
        _whole_config_files,
    ),
    Shim(
        "names_with_brackets",
        "The host and pytorch-metric-learning use the whole path as a glob pattern: in an "
        "experiment named '[try] one' they find no checkpoint and restart at epoch 0.",
        _names_with_brackets,
    ),
    Shim(
        "closed_databases",
        "record-keeper leaves the connection open if a query fails, as the host's do while trying "
        "several column names. Python 3.13: ResourceWarning: unclosed database.",
        _closed_databases,
    ),
    Shim(
        "silent_bars",
        "The host draws a progress bar for each epoch and evaluation and refreshes it every step; "
        "base/progress.py shows one line for the run. Formatting the bar makes torch warn that a "
        "tensor that requires a gradient is converted to a number.",
        _silent_bars,
    ),
    Shim(
        "silent_clustering",
        "faiss prints WARNING clustering ... please provide at least ... training points if a "
        "class has fewer images than it expects per cluster.",
        _silent_clustering,
    ),
)

# They make the host's search importable on ax-platform 1.3, which itself takes seconds to import.
# slade_plugin/experiments/search avoids the other calls that the host makes to the old Ax.
AX_SHIMS: tuple[Shim, ...] = (
    Shim(
        "ax_best_point",
        "Ax 1.0 removed a function that the host's search imports: ImportError: cannot import name "
        "'get_best_raw_objective_point'. Its successor returns variances, not standard errors.",
        _ax_best_point,
    ),
    Shim(
        "ax_modelbridge",
        "Ax 1.0 renamed the package of the models that the host's plots use: "
        "ModuleNotFoundError: No module named 'ax.modelbridge'.",
        _ax_modelbridge,
    ),
    Shim(
        "ax_contour",
        "Ax renamed the contour plot: ImportError: cannot import name 'interact_contour'.",
        _ax_contour,
    ),
)

_applied: dict[str, Undo] = {}


def apply(shims: Sequence[Shim] = SHIMS) -> None:
    """Apply shims before the host is imported; a second call does nothing.

    Args:
        shims: `SHIMS`, or `AX_SHIMS` before the host's search is imported.
    """
    for shim in shims:
        if shim.name not in _applied:
            _applied[shim.name] = shim.install()


def undo(name: str) -> None:
    """Undo one shim, e.g. to show its symptom; `apply` installs it again.

    Args:
        name: Name in `SHIMS` or `AX_SHIMS`. A shim that is not applied is ignored.
    """
    _applied.pop(name, _nothing)()
