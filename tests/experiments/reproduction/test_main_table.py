from pathlib import Path

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.reproduction.evaluated_run import EVALUATED
from slade_plugin.experiments.reproduction.main_table import Table
from slade_plugin.experiments.studies.config_check import PLAIN, read_stages

PATH = config_root() / "tables" / "main_table.yaml"
# The methods of the poster's table, in its order.
METHODS = (
    "Contrastive", "Triplet", "ProxyNCA", "N. Softmax", "CosFace", "FastAP", "MS+Miner",
    "Proxy-Anchor (1)", "Proxy-Anchor (2)", "ProxyNCA++", "Mutual-Info", "Contrastive (T1)",
    "Contrastive (T2)", "SLADE (S1)", "SLADE (S2)", "MS (T3)", "MS (T4)", "SLADE (S3)",
    "SLADE (S4)",
)  # fmt: skip
DATASETS = sorted(yaml.safe_load(PATH.read_text())["datasets"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_row_of_the_poster_is_there_and_run_py_takes_it(dataset: str, tmp_path: Path) -> None:
    table = Table.load(PATH, dataset)
    assert tuple(row.method for row in table.rows) == METHODS
    assert [row.name for row in table.rows if row.quoted] == ["proxy_anchor_1"]
    runs = table.runs(tmp_path, [0])
    for row in table.rows:
        if row.quoted:
            continue
        stages = read_stages(runs[row.name, 0])
        assert row.stage in stages
        trunk = stages[row.stage].models["trunk"]
        if dataset == "glyphs":
            assert list(trunk) == ["conv4"]
        elif row.of != row.name or row.stage != PLAIN:
            assert list(trunk) == ["TorchvisionTrunk" if row.of in ("S2", "S4") else "resnet50"]
            assert bool(stages[row.stage].self_supervised) == (row.of in ("S2", "S4"))
        else:
            (name,) = trunk
            baseline = METHODS.index(row.method) <= METHODS.index("MS+Miner")
            assert (name == "bninception") == baseline
    assert list(tmp_path.iterdir()) == []


def test_losses_of_2048_numbers_fit_their_embedders(tmp_path: Path) -> None:
    runs = Table.load(PATH, "cub200_nabirds").runs(tmp_path, [0])
    for name in ("proxy_nca_plus_plus", "mutual_info"):
        args = read_stages(runs[name, 0])[PLAIN]
        (loss,) = args.loss_funcs["metric_loss"].values()
        assert loss["embedding_size"] == 2048
    assert args.models["embedder"] == {"Identity": {}}
    assert "embedder_optimizer" not in args.optimizers


def test_cars_are_run_as_tuned_on_cars(tmp_path: Path) -> None:
    runs = Table.load(PATH, "cars196_compcars").runs(tmp_path, [0])
    contrastive = read_stages(runs["contrastive", 0])[PLAIN].loss_funcs
    assert contrastive["metric_loss"]["ContrastiveLoss"] == {
        "pos_margin": 0.2652,
        "neg_margin": 0.5409,
    }
    for args in read_stages(runs["S3", 0]).values():
        tuned = {"alpha": 7.49, "beta": 47.99, "base": 0.63}
        assert args.loss_funcs["metric_loss"]["MultiSimilarityLoss"] == tuned


def test_a_teacher_shares_its_student_s_run(tmp_path: Path) -> None:
    table = Table.load(PATH, "glyphs").selected(["T2", "S2"])
    runs = table.runs(tmp_path, [0, 1])
    assert runs["T2", 0] is runs["S2", 0]
    assert runs["S2", 0] != runs["S2", 1]
    alone = Table.load(PATH, "glyphs").selected(["T2"]).runs(tmp_path, [0])
    assert alone["T2", 0] == runs["T2", 0]


def test_a_run_is_finished_once_it_is_evaluated(tmp_path: Path) -> None:
    run = Table.load(PATH, "glyphs").selected(["S1"]).runs(tmp_path, [0])["S1", 0]
    run.table.parent.mkdir(parents=True)
    run.table.touch()
    assert not run.finished
    (run.folder / EVALUATED).touch()
    assert run.finished


def test_flags_for_every_run_have_the_last_word(tmp_path: Path) -> None:
    table = Table.load(PATH, "glyphs").selected(["fast_ap"])
    run = table.runs(tmp_path, [3], ["--num_epochs_train", "2", "--dataset_root", "d"])[
        "fast_ap", 3
    ]
    words = " ".join(run.command())
    assert "--num_epochs_train 2" in words
    assert "--num_epochs_train 40" not in words
    assert "--dataset_root d" in words
    assert "--pipeline" not in words


@pytest.mark.parametrize(
    ("dataset", "rows", "message"),
    [
        ("cub200_nabird", [], "--dataset cub200_nabird.*expected one of glyphs, cub200_nabirds"),
        ("glyphs", ["S5"], "--rows S5.*expected of contrastive, triplet"),
        ("glyphs", ["proxy_anchor_1"], "Proxy-Anchor .1. is a number of the Proxy-Anchor paper"),
    ],
)
def test_what_is_not_there_is_refused(dataset: str, rows: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Table.load(PATH, dataset).selected(rows)
