"""Each shim is needed: without it the host shows the symptom, with it the host works."""

import importlib
import importlib.util
import sqlite3
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from easy_module_attribute_getter import PytorchGetter
from powerful_benchmarker.datasets import StanfordOnlineProducts
from powerful_benchmarker.factories import SamplerFactory
from powerful_benchmarker.utils import common_functions as c_f
from pytorch_metric_learning import losses, samplers
from pytorch_metric_learning.trainers import base_trainer
from pytorch_metric_learning.utils import common_functions as pml_cf
from pytorch_metric_learning.utils import loss_and_miner_utils, stat_utils
from record_keeper.db_utils import DBManager

from slade_plugin import compat
from slade_plugin.base.errors import ExperimentError

pytestmark = pytest.mark.host


@pytest.fixture(autouse=True)
def applied() -> Iterator[None]:
    compat.apply()
    yield
    compat.apply()


def test_apply_twice_installs_once() -> None:
    write = DBManager.write
    compat.apply()
    assert DBManager.write is write


def test_undo_restores_what_was_there() -> None:
    with_shim = DBManager.write
    compat.undo("lists_in_records")
    assert DBManager.write is with_shim.__wrapped__
    compat.apply()


def test_undo_of_a_shim_that_is_not_in_place_does_nothing() -> None:
    write = DBManager.write
    compat.undo("no such shim")
    assert DBManager.write is write


def test_names_are_unique_and_reasons_given() -> None:
    shims = (*compat.SHIMS, *compat.AX_SHIMS)
    assert len({shim.name for shim in shims}) == len(shims)
    assert all(len(shim.reason) > 40 for shim in shims)


def test_importing_the_module_is_light() -> None:
    code = (
        "import sys, slade_plugin.compat; "
        "print([m for m in ('torch', 'numpy', 'pandas', 'gdown', 'powerful_benchmarker') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- numpy --------------------------------------------------------------------------------------


def test_sampler_needs_np_int() -> None:
    compat.undo("numpy_int")
    with pytest.raises(AttributeError, match="has no attribute 'int'"):
        samplers.MPerClassSampler([0, 0, 1, 1], m=2)
    compat.apply()
    sampler = samplers.MPerClassSampler([0, 0, 1, 1], m=2, length_before_new_iter=4)
    assert sorted(sampler) == [0, 1, 2, 3]


def test_label_mapper_needs_np_int() -> None:
    compat.undo("numpy_int")
    mapper = pml_cf.LabelMapper(set_min_label_to_zero=True, dataset_labels=[5, 7])
    with pytest.raises(AttributeError, match="has no attribute 'int'"):
        mapper.map([7, 5], 0)
    compat.apply()
    assert mapper.map([7, 5], 0).tolist() == [1, 0]


# ---- pandas -------------------------------------------------------------------------------------


def write_online_products(root: Path) -> None:
    folder = root / "Stanford_Online_Products"
    folder.mkdir()
    for name, class_id in (("train", 1), ("test", 2)):
        (folder / f"Ebay_{name}.txt").write_text(
            f"image_id class_id super_class_id path\n1 {class_id} 1 chair/a_{name}.JPG\n",
            encoding="utf-8",
        )


def load_online_products(root: Path) -> Any:
    instance = StanfordOnlineProducts.__new__(StanfordOnlineProducts)
    instance.dataset_folder = str(root / "Stanford_Online_Products")
    instance.load_labels()
    return instance


def test_online_products_read_their_lists(tmp_path: Path) -> None:
    write_online_products(tmp_path)
    compat.undo("pandas_whitespace")
    with pytest.raises(TypeError, match="unexpected keyword argument 'delim_whitespace'"):
        load_online_products(tmp_path)
    compat.apply()
    assert load_online_products(tmp_path).labels.tolist() == [0, 1]


def test_pandas_itself_stays_as_it_is(tmp_path: Path) -> None:
    read_csv = pd.read_csv
    with pytest.raises(FileNotFoundError):
        load_online_products(tmp_path)
    assert pd.read_csv is read_csv


# ---- names the host forgot to import ------------------------------------------------------------


def test_sampler_factory_logs() -> None:
    getter = PytorchGetter()
    getter.register("sampler", samplers)
    spec = {"MPerClassSampler": {"m": 2, "length_before_new_iter": "dataset_length"}}
    kwargs = {"labels": [0, 0, 1, 1], "length_before_new_iter": 4}
    compat.undo("sampler_logging")
    with pytest.raises(NameError, match="name 'logging' is not defined"):
        SamplerFactory(getter=getter).create(spec, kwargs=kwargs)
    compat.apply()
    assert len(SamplerFactory(getter=getter).create(spec, kwargs=kwargs)) == 4


# ---- losses of mined pairs ----------------------------------------------------------------------


def test_triplets_of_pairs_without_a_common_anchor() -> None:
    """0-1 is positive, 2-3 negative: nothing to compare, so the loss is 0."""
    ends = torch.tensor([0, 1]), torch.tensor([1, 0]), torch.tensor([2, 3]), torch.tensor([3, 2])
    embeddings, labels = torch.eye(4, requires_grad=True), torch.arange(4)
    loss = losses.TripletMarginLoss()
    compat.undo("mined_triplets")
    with pytest.raises(ValueError, match="expected a non-empty list of Tensors"):
        loss(embeddings, labels, ends)
    compat.apply()
    assert loss(embeddings, labels, ends).item() == 0


def test_triplets_with_a_common_anchor_are_the_host_s() -> None:
    """0 has the positive 1 and the negatives 2 and 3, 4 has a negative only."""
    mined = tuple(torch.tensor(row) for row in ([0, 1], [1, 0], [0, 0, 4], [2, 3, 2]))
    labels = torch.arange(5)
    found = loss_and_miner_utils.convert_to_triplets(mined, labels)
    compat.undo("mined_triplets")
    expected = loss_and_miner_utils.convert_to_triplets(mined, labels)
    assert [row.tolist() for row in found] == [row.tolist() for row in expected]
    assert [row.tolist() for row in found] == [[0, 0], [1, 1], [2, 3]]


@pytest.mark.parametrize(
    ("name", "one_side"), [("NTXentLoss", "positive"), ("LiftedStructureLoss", "negative")]
)
def test_pairs_of_one_side_alone(name: str, one_side: str) -> None:
    none, pair = torch.empty(0, dtype=torch.int64), (torch.tensor([0, 1]), torch.tensor([1, 0]))
    mined = (*pair, none, none) if one_side == "positive" else (none, none, *pair)
    embeddings, labels = torch.eye(4, requires_grad=True), torch.arange(4)
    compat.undo("one_sided_pairs")
    with pytest.raises(AttributeError, match="'list' object has no attribute 'dtype'"):
        getattr(losses, name)()(embeddings, labels, mined)
    compat.apply()
    assert getattr(losses, name)()(embeddings, labels, mined).item() == 0


@pytest.mark.parametrize("name", ["ContrastiveLoss", "NTXentLoss", "LiftedStructureLoss"])
def test_pairs_of_both_sides_have_the_host_s_value(name: str) -> None:
    embeddings = torch.randn(6, 4, generator=torch.manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    with_shim = getattr(losses, name)()(embeddings, labels).item()
    compat.undo("one_sided_pairs")
    assert getattr(losses, name)()(embeddings, labels).item() == with_shim > 0


# ---- records that are lists ---------------------------------------------------------------------


def test_lists_are_stored_and_read_back(tmp_path: Path) -> None:
    database = DBManager(str(tmp_path / "logs.db"))
    records = {"beta": [[1.0, 2.0], [3.0, 4.0]], "loss": [0.5, 0.25], "note": ["a", "b"]}
    compat.undo("lists_in_records")
    with pytest.raises(KeyError, match="beta_list"):
        database.write("metric_loss", records)
    compat.apply()
    database.write("metric_loss", records)
    database.write("metric_loss", {name: rows[:1] for name, rows in records.items()})
    rows = database.query("SELECT beta_list, loss, note FROM metric_loss")
    assert [tuple(row) for row in rows] == [
        ([1.0, 2.0], 0.5, "a"),
        ([3.0, 4.0], 0.25, "b"),
        ([1.0, 2.0], 0.5, "a"),
    ]


def test_list_that_appears_later_gets_a_column(tmp_path: Path) -> None:
    database = DBManager(str(tmp_path / "logs.db"))
    database.write("metric_loss", {"loss": [0.5]})
    database.write("metric_loss", {"loss": [0.25], "beta": [[1.0, 2.0]]})
    rows = database.query("SELECT loss, beta_list FROM metric_loss")
    assert [tuple(row) for row in rows] == [(0.5, None), (0.25, [1.0, 2.0])]


def test_lists_in_a_global_database_belong_to_their_experiment(tmp_path: Path) -> None:
    database = DBManager(str(tmp_path / "global.db"), is_global=True)
    for name in ("first", "second"):
        database.new_experiment(name)
        database.write("metric_loss", {"beta": [[1.0]]}, experiment_name=name)
    rows = database.query("SELECT experiment_id, beta_list FROM metric_loss")
    assert [tuple(row) for row in rows] == [(1, [1.0]), (2, [1.0])]
    with closing(sqlite3.connect(tmp_path / "global.db")) as connection:
        keys = connection.execute("PRAGMA foreign_key_list(metric_loss)").fetchall()
    assert keys[0][2:4] == ("experiment_ids", "experiment_id")


def test_records_without_lists_take_the_hosts_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compat, "_ensure_columns", lambda *_: pytest.fail("not the host's way"))
    database = DBManager(str(tmp_path / "logs.db"))
    database.write("losses", {"loss": [0.5]})
    assert database.query("SELECT loss FROM losses")[0]["loss"] == 0.5


def test_a_query_that_fails_closes_its_connection(tmp_path: Path) -> None:
    database = DBManager(str(tmp_path / "logs.db"))
    opened = []
    original = DBManager.open

    def open_and_note(self: DBManager) -> None:
        original(self)
        opened.append(self.conn)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DBManager, "open", open_and_note)
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            database.query("SELECT x FROM y")
        database.write("y", {"x": [1.0]})
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        DBManager(str(tmp_path / "nowhere" / "logs.db")).query("SELECT 1")


# ---- bars and warnings of the host --------------------------------------------------------------


def test_the_host_s_bars_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    bar = base_trainer.tqdm.tqdm(range(3))
    assert list(bar) == [0, 1, 2]
    bar.set_description("total_loss=1")
    assert capfd.readouterr() == ("", "")
    compat.undo("silent_bars")
    list(base_trainer.tqdm.tqdm(range(3)))
    assert "3/3" in capfd.readouterr().err
    compat.apply()


def test_clustering_few_images_is_silent_and_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    points = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    ours = stat_utils.run_kmeans(points, 5)
    assert "WARNING" not in "".join(capfd.readouterr())
    compat.undo("silent_clustering")
    theirs = stat_utils.run_kmeans(points, 5)
    assert "WARNING clustering" in "".join(capfd.readouterr())
    compat.apply()
    assert ours == theirs


# ---- Ax, which takes seconds to import ----------------------------------------------------------

AX_WARNINGS = ("DeprecationWarning", "FutureWarning", "UserWarning", "RuntimeWarning")


def with_ax(test: Any) -> Any:
    """Marks of a test that imports Ax, which warns of what its next version drops."""
    for category in AX_WARNINGS:
        test = pytest.mark.filterwarnings(f"ignore::{category}")(test)
    return pytest.mark.slow(test)


@pytest.fixture
def ax_applied() -> Iterator[None]:
    compat.apply(compat.AX_SHIMS)
    yield
    compat.apply(compat.AX_SHIMS)


@pytest.fixture
def client(ax_applied: None) -> Any:
    """Four finished trials of two parameters."""
    from ax.service.ax_client import AxClient
    from ax.service.utils.instantiation import ObjectiveProperties

    client = AxClient(random_seed=0, verbose_logging=False)
    ranges = [{"name": name, "type": "range", "bounds": [0.0, 1.0]} for name in ("a/x", "a/y")]
    client.create_experiment(
        name="e", parameters=ranges, objectives={"score": ObjectiveProperties(minimize=False)}
    )
    for score in (0.2, 0.5, 0.3, 0.4):
        _, index = client.get_next_trial()
        client.complete_trial(index, raw_data=(score, 0.01))
    return client


def load_again(name: str) -> types.ModuleType:
    """Runs the source file of one of the host's modules, as its first import would."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    module = types.ModuleType(f"{name}_again")
    module.__package__ = name.rpartition(".")[0]
    source = Path(str(spec.origin)).read_text(encoding="utf-8")
    exec(compile(source, str(spec.origin), "exec"), module.__dict__)
    return module


@with_ax
@pytest.mark.parametrize(
    ("shim", "symptom"),
    [
        ("ax_best_point", "cannot import name 'get_best_raw_objective_point'"),
        ("ax_modelbridge", "No module named 'ax.modelbridge'"),
        ("ax_contour", "cannot import name 'interact_contour'"),
    ],
)
def test_the_search_imports_on_today_s_ax(ax_applied: None, shim: str, symptom: str) -> None:
    compat.undo(shim)
    with pytest.raises(ImportError, match=symptom):
        load_again("powerful_benchmarker.runners.bayes_opt_runner")
    compat.apply(compat.AX_SHIMS)
    assert (
        load_again("powerful_benchmarker.runners.bayes_opt_runner").BayesOptRunner.__name__
        == "BayesOptRunner"
    )


@with_ax
def test_best_point_has_the_old_form(client: Any) -> None:
    from ax.service.utils.best_point import get_best_raw_objective_point

    parameters, values = get_best_raw_objective_point(client.experiment)
    assert parameters == client.experiment.trials[1].arm.parameters
    assert values["score"] == pytest.approx((0.5, 0.01))


# ---- files of the host --------------------------------------------------------------------------


def save_configs(folder: Path) -> None:
    contents = {"small": {"a": 1}, "large": {"b": "x" * 50_000}, "last": {"c": 2}}
    c_f.save_config_files(str(folder), contents, False, [])


def test_config_files_are_all_there_or_none(small_disk: Any) -> None:
    folder = small_disk.folder / "experiment" / "configs"
    small_disk.leave(20_000)
    with pytest.raises(ExperimentError, match="Cannot write"):
        save_configs(folder)
    assert not folder.exists()
    small_disk.free()
    save_configs(folder)
    assert sorted(p.name for p in folder.iterdir()) == ["large.yaml", "last.yaml", "small.yaml"]
    whole = {p.name: p.read_bytes() for p in folder.iterdir()}
    compat.undo("whole_config_files")
    save_configs(small_disk.folder / "by_the_host")
    assert {p.name: p.read_bytes() for p in (small_disk.folder / "by_the_host").iterdir()} == whole
    small_disk.leave(20_000)
    with pytest.raises(OSError, match=r"No space|too large"):
        save_configs(small_disk.folder / "half")
    assert (small_disk.folder / "half").exists()


def test_what_is_added_to_a_config_file_keeps_what_was_there(tmp_path: Path) -> None:
    for mode in ("w", "a"):
        c_f.write_yaml(str(tmp_path / "a.yaml"), {mode: 1}, mode)
    assert (tmp_path / "a.yaml").read_text() == "w: 1\na: 1\n"


def test_checkpoints_are_found_below_a_name_with_brackets(tmp_path: Path) -> None:
    folder = tmp_path / "[try] one" / "saved_models"
    folder.mkdir(parents=True)
    (folder / "trunk_best3.pth").touch()
    assert pml_cf.latest_version(str(folder), best=True) == (3, "best3")
    configs = tmp_path / "[try] one" / "configs"
    (configs / "resume_training_config_diffs_1").mkdir(parents=True)
    assert c_f.get_sorted_config_diff_folders(str(configs))[1] == [[1]]
    compat.undo("names_with_brackets")
    assert pml_cf.latest_version(str(folder), best=True) == (0, None)
