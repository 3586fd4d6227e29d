"""Every config of the shipped root: found, documented, built by the host, true to its source."""

import csv
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from easy_module_attribute_getter import utils as emag_utils
from PIL import Image

from slade_plugin import compat
from slade_plugin.config.composition import BRINGS, compose, read_areas
from slade_plugin.config.lookup import resolve
from slade_plugin.experiments.search.space import fill, find_space
from slade_plugin.experiments.studies.study_file import read_study
from slade_plugin.host.registry import register_all
from slade_plugin.host.validation import check_args
from slade_plugin.method.self_supervised.settings import SwAVSettings
from slade_plugin.method.self_supervised.views import MultiCropViews
from tests.study_files import setting_of

ROOT = Path(__file__).resolve().parents[2] / "bench_configs"
AREAS_FILE = ROOT / "config_foldernames.yaml"
NUM_CLASSES = 10

AREAS = read_areas(ROOT)
CONFIGS = sorted(path for path in ROOT.rglob("*.yaml") if path != AREAS_FILE)
NAMES = [path.relative_to(ROOT).with_suffix("").as_posix() for path in CONFIGS]
NAMES_IN_AREAS = [name for name in NAMES if name.split("/")[0] in AREAS]
LOSS_FILES = sorted(path.stem for path in (ROOT / "config_loss").glob("*.yaml"))
LOSSES = [name for name in LOSS_FILES if not name.endswith("_search")]
FURNITURE = {"config_dataset": "furniture", "config_loss": "slade"}
ADAPTING = {  # what changes a method needs it: config -> a run that brings it
    "config_loss/fine_tuning": FURNITURE,
    "config_general/fine_tuning": FURNITURE,
    "config_optimizers/slade_proxies": {"config_loss": "slade_proxy_anchor"},
}
SEARCHES = [name for name in LOSS_FILES if name not in LOSSES]  # the same losses with bounds

MLRC = {
    "config_general": "mlrc",
    "config_models": "bninception",
    "config_optimizers": "mlrc",
    "config_transforms": "imagenet_227",
}

# Config entry -> (loss, parameter) of mlrc_hyperparameters.csv, a copy of the paper's table.
TUNED = {
    "config_loss/contrastive": {
        "loss_funcs.metric_loss.ContrastiveLoss.pos_margin": ("Contrastive", "pos_margin"),
        "loss_funcs.metric_loss.ContrastiveLoss.neg_margin": ("Contrastive", "neg_margin"),
    },
    "config_loss/triplet": {
        "loss_funcs.metric_loss.TripletMarginLoss.margin": ("Triplet", "margin"),
    },
    "config_loss/proxy_nca": {
        "loss_funcs.metric_loss.ProxyNCALoss.softmax_scale": ("ProxyNCA", "softmax_scale"),
    },
    "config_loss/normalized_softmax": {
        "loss_funcs.metric_loss.NormalizedSoftmaxLoss.temperature": (
            "Normalized Softmax",
            "temperature",
        ),
    },
    "config_loss/cosface": {
        "loss_funcs.metric_loss.CosFaceLoss.margin": ("CosFace", "margin"),
        "loss_funcs.metric_loss.CosFaceLoss.scale": ("CosFace", "scale"),
    },
    "config_loss/fast_ap": {
        "loss_funcs.metric_loss.FastAPLoss.num_bins": ("FastAP", "num_bins"),
    },
    "config_loss/multi_similarity_with_miner": {
        "loss_funcs.metric_loss.MultiSimilarityLoss.alpha": ("Multi Similarity + Miner", "alpha"),
        "loss_funcs.metric_loss.MultiSimilarityLoss.beta": ("Multi Similarity + Miner", "beta"),
        "loss_funcs.metric_loss.MultiSimilarityLoss.base": ("Multi Similarity + Miner", "base"),
        "mining_funcs.tuple_miner.MultiSimilarityMiner.epsilon": (
            "Multi Similarity + Miner",
            "epsilon",
        ),
    },
    "config_loss/slade_ms": {
        **{
            f"loss_funcs.{loss}~OVERRIDE~.MultiSimilarityLoss.{name}": (
                "Multi Similarity + Miner",
                name,
            )
            for loss in ("metric_loss", "unlabeled_metric_loss")
            for name in ("alpha", "beta", "base")
        },
        "mining_funcs.tuple_miner.MultiSimilarityMiner.epsilon": (
            "Multi Similarity + Miner",
            "epsilon",
        ),
    },
    "config_optimizers/proxy_nca": {
        "optimizers.metric_loss_optimizer.RMSprop.lr": ("ProxyNCA", "proxy lr"),
    },
    "config_optimizers/normalized_softmax": {
        "optimizers.metric_loss_optimizer.RMSprop.lr": ("Normalized Softmax", "weights lr"),
    },
    "config_optimizers/cosface": {
        "optimizers.metric_loss_optimizer.RMSprop.lr": ("CosFace", "weights lr"),
    },
}


def load(name: str) -> dict[str, Any]:
    content = yaml.safe_load((ROOT / f"{name}.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def header(name: str) -> list[str]:
    """The comment lines a file begins with, without their signs."""
    lines = []
    for line in (ROOT / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    return lines


def merge_files(paths: list[Path]) -> dict[str, Any]:
    """Merges the files of one area the way the host does."""
    merged: dict[str, Any] = {}
    for path in paths:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        merged = emag_utils.merge_two_dicts(merged, content, max_merge_depth=float("inf"))
    return merged


def merge(requested: dict[str, Any]) -> dict[str, Any]:
    """The config of a command line such as ``--config_loss cosface``."""
    merged: dict[str, Any] = {}
    for area, names in compose(ROOT, AREAS, requested).items():
        merged |= merge_files([ROOT / area / f"{name}.yaml" for name in names])
    return merged


def values(content: Any) -> Iterator[Any]:
    if isinstance(content, dict | list):
        for inner in content.values() if isinstance(content, dict) else content:
            yield from values(inner)
    else:
        yield content


@pytest.fixture(scope="module")
def getter() -> Any:
    """The host's getter, with our classes."""
    compat.apply()
    from powerful_benchmarker.runners.base_runner import BaseRunner

    runner = BaseRunner()
    register_all(runner)
    return runner.pytorch_getter


@pytest.fixture(scope="module")
def published() -> dict[tuple[str, str, str], float]:
    """(data set, loss, parameter) -> tuned value."""
    with (Path(__file__).parent / "mlrc_hyperparameters.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["value"] != "N/A"]
    assert len(rows) == 143
    return {(r["dataset"], r["loss"], r["parameter"]): float(r["value"]) for r in rows}


def test_every_file_belongs_to_an_area_or_is_a_study() -> None:
    """So no config is left out of these tests."""
    assert {name.split("/")[0] for name in NAMES} == {*AREAS, "studies"}


def test_areas_file_names_all_areas_and_their_default() -> None:
    content = yaml.safe_load(AREAS_FILE.read_text(encoding="utf-8"))
    assert content == {"config_foldernames": AREAS, **{area: ["default"] for area in AREAS}}


@pytest.mark.parametrize("name", NAMES)
def test_config_is_a_lab_note(name: str) -> None:
    """A header says what the file is and how it is run; the configs it names exist."""
    assert load(name)
    lines = header(name)
    assert len(lines) >= 4
    assert any(line.startswith("What:") for line in lines)
    assert any(line.startswith(("Command:", "Switch:")) for line in lines)
    if name in NAMES_IN_AREAS:
        assert any(line.startswith("Needs:") for line in lines), "say what must exist first"
    text = " ".join(lines)
    named = re.findall(r"--(config_\w+) +\[?(\w+)", text)
    missing = [
        f"{area}/{file}" for area, file in named if not (ROOT / area / f"{file}.yaml").is_file()
    ]
    assert missing == []


@pytest.mark.parametrize("name", NAMES)
def test_no_number_is_read_as_text(name: str) -> None:
    """YAML takes 1e-6 for text, and the host meets it in the middle of a run; write 0.000001."""
    texts = [value for value in values(load(name)) if isinstance(value, str)]
    assert [text for text in texts if re.fullmatch(r"[-+.\deE]+", text)] == []


@pytest.mark.parametrize("name", NAMES_IN_AREAS)
def test_config_passes_the_plugin_s_own_check(name: str, getter: Any) -> None:
    """Keys, ranges, class names and arguments, as the runner checks them before a run."""
    area, file = name.split("/")
    requested = {"config_loss": file} if file.startswith("slade") else {area: file}
    if name in ADAPTING:
        requested = ADAPTING[name]
        assert file in compose(ROOT, AREAS, requested)[area]
    if area == "config_optimizers" and file in (*LOSSES, *SEARCHES):
        requested["config_loss"] = file
    if "config_self_supervised" in (area, *load(name).get(BRINGS, {})):
        requested["config_loss"] = "slade"
    if file == "metric_loss_search":
        requested["config_loss"] = "proxy_nca"
    config = merge(requested)
    fill(config, {path: p.lower for path, p in find_space(config).items()})
    check_args(SimpleNamespace(**config), getter)


@pytest.mark.parametrize("name", SEARCHES)
def test_bounds_are_around_a_value_in_use(name: str) -> None:
    """Each searched entry is one of the method's, and the method as shipped is in the space."""
    space = find_space(merge({"config_loss": name}))
    config = merge({"config_loss": name.removesuffix("_search")})
    assert space
    for path, bounds in space.items():
        value: Any = config
        for key in path.split("/"):
            value = value[key]
        assert bounds.lower <= value <= bounds.upper, path


def test_every_method_of_the_benchmark_has_a_search() -> None:
    methods = {
        name.removeprefix("config_loss/") for name in TUNED if name.startswith("config_loss")
    }
    others = ("proxy_anchor", "proxy_nca_plus_plus", "cross_entropy", "slade")
    assert {f"{name}_search" for name in (*methods, *others)} == set(SEARCHES)


def test_every_row_of_the_main_table_has_a_search() -> None:
    study = read_study(ROOT / "studies" / "main_table.yaml")
    losses = {setting.flags[setting.flags.index("--config_loss") + 1] for setting in study.settings}
    assert {f"{loss}_search" for loss in losses} == set(SEARCHES)


@pytest.mark.parametrize("row", ["proxy_nca_plus_plus", "mutual_info"])
def test_a_row_s_models_and_optimizers_keep_the_bounds(row: str) -> None:
    """The row's own command is searched by another --config_loss."""
    study = read_study(ROOT / "studies" / "main_table.yaml")
    flags = " ".join(setting_of(study, row).flags)
    words = flags.split("--")
    requested = dict(word.split() for word in words if word.startswith("config_"))
    requested["config_loss"] += "_search"
    bounds = find_space(merge({"config_loss": requested["config_loss"]}))
    assert find_space(merge(requested)) == bounds
    assert len(bounds) == 2


@pytest.mark.parametrize("name", SEARCHES)
def test_bounds_of_every_loss_with_weights_hold_their_learning_rate(name: str) -> None:
    specs = merge({"config_loss": name})["loss_funcs"]["metric_loss"]
    has_weights = any("embedding_size" in (arguments or {}) for arguments in specs.values())
    space = find_space(merge({"config_loss": name}))
    rates = [
        path for path in space if re.fullmatch(r"optimizers/metric_loss_optimizer/\w+/lr", path)
    ]
    assert len(rates) == has_weights


@pytest.mark.parametrize("name", LOSSES)
def test_loss_config_can_be_built(name: str, getter: Any) -> None:
    """Losses, miners, sampler and optimizers are built by the configured factories."""
    config = merge({"config_loss": name})
    factories = getter.get(
        "factory", class_name="FactoryFactory", params={"getter": getter}
    ).create(named_specs=config["factories"])
    loss_funcs = factories["loss"].create(
        named_specs=config["loss_funcs"], kwargs={"num_classes": NUM_CLASSES}
    )
    assert "metric_loss" in loss_funcs
    assert all(isinstance(loss, torch.nn.Module) for loss in loss_funcs.values())
    miners = factories["miner"].create(named_specs=config["mining_funcs"])
    assert set(miners) == set(config["mining_funcs"])
    labels = torch.arange(NUM_CLASSES).repeat_interleave(4).numpy()
    for key in {"sampler", "unlabeled_sampler"} & set(config):
        sampler = factories["sampler"].create(
            config[key], kwargs={"labels": labels, "length_before_new_iter": len(labels)}
        )
        assert len(list(sampler)) == len(sampler)
    models = factories["model"].create(named_specs=config["models"])
    optimizers, _, _ = factories["optimizer"].create(
        named_specs=config["optimizers"],
        kwargs={"param_sources": [models, loss_funcs], "num_epochs": 4},
    )
    trained = {
        id(p) for o in optimizers.values() for group in o.param_groups for p in group["params"]
    }
    trainable = {
        id(p)
        for module in [*models.values(), *loss_funcs.values()]
        for p in module.parameters()
        if p.requires_grad
    }
    assert trained == trainable, "every parameter has an optimizer, or is silently never trained"


@pytest.mark.parametrize("name", LOSSES)
def test_loss_takes_the_embedder_s_output(name: str, getter: Any) -> None:
    """One value of the loss on embeddings of the size that config_models/default gives."""
    config = merge({"config_loss": name})
    size = config["models"]["embedder"]["MLP"]["layer_sizes"][-1]
    factory = getter.get(
        "factory",
        yaml_dict=config["factories"]["loss"],
        params=None,
        additional_params={"getter": getter},
    )
    loss = factory.create(
        named_specs={"metric_loss": config["loss_funcs"]["metric_loss"]},
        kwargs={"num_classes": NUM_CLASSES},
    )["metric_loss"]
    embeddings = torch.randn(20, size, generator=torch.Generator().manual_seed(0))
    embeddings.requires_grad_()
    value = loss(embeddings, torch.arange(NUM_CLASSES).repeat(2))
    value.backward()
    assert torch.isfinite(value)
    assert embeddings.grad is not None
    assert embeddings.grad.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "config_models").glob("*.yaml")))
def test_model_names_resolve(name: str, getter: Any) -> None:
    """Only looked up: a pretrained trunk would be downloaded."""
    for spec in merge({"config_models": name})["models"].values():
        model, _ = getter.get("model", yaml_dict=spec, return_uninitialized=True)
        assert callable(model)


# Data sets with a pool, not the paper's.
OURS = ("default", "icons", "furniture", "folders", "folders_small")
PAIRS = (  # the paper's
    "cars196_compcars",
    "cub200_nabirds",
    "in_shop_fashion200k",
)


@pytest.mark.parametrize("name", ["swav", "swav_conv4"])
def test_self_supervised_config_can_be_built(name: str, getter: Any) -> None:
    """On one grey image of 32 pixels, which is enlarged where the trunk takes photographs."""
    config = merge({"config_self_supervised": name})["self_supervised"]
    settings = SwAVSettings.from_config(config)
    assert {field.name for field in fields(settings)} == config.keys() - {"folder"}
    views = MultiCropViews(settings.views, SimpleNamespace(mean=[0.5], std=[0.3]))
    sizes = [tuple(view.shape) for view in views(Image.new("L", (32, 32)))]
    crops = zip(settings.views["crop_sizes"], settings.views["crop_counts"], strict=True)
    assert sizes == [(1, size, size) for size, count in crops for _ in range(count)]
    optimizer, kwargs = resolve(getter, "optimizer", settings.optimizer, "optimizer")
    optimizer([torch.nn.Parameter(torch.zeros(1))], **kwargs)


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "config_dataset").glob("*.yaml")))
def test_data_set_config_names_one_data_set(name: str, getter: Any) -> None:
    config = merge({"config_dataset": name})
    (dataset,) = config["dataset"]
    assert callable(getter.get("dataset", class_name=dataset, return_uninitialized=True)[0])
    assert ("unlabeled_dataset" in config) == (name in (*OURS, *PAIRS, "two_split_schemes"))
    (split_manager,) = config["split_manager"].values()
    assert split_manager["num_training_sets"] == (
        2 if name == "two_split_schemes" else 1 if name in (*OURS, "in_shop_fashion200k") else 4
    )


@pytest.mark.parametrize(
    ("dataset", "general", "host_general"),
    [("cub200", "mlrc", []), ("cars196", "mlrc_cars196", ["with_cars196"])],
)
def test_mlrc_configs_equal_the_host_s_own(
    dataset: str, general: str, host_general: list[str]
) -> None:
    """The benchmark's settings are the host's shipped configs; ours are a root of their own."""
    import powerful_benchmarker.configs as host_configs

    host_root = Path(host_configs.__path__[0])
    files = {
        "config_dataset": ["default"] if dataset == "cub200" else ["default", "with_cars196"],
        "config_general": ["default", *host_general],
        "config_loss_and_miners": ["default"],
        "config_models": ["default"],
        "config_optimizers": ["default"],
        "config_transforms": ["default"],
    }
    host: dict[str, Any] = {}
    for area, names in files.items():
        host |= merge_files([host_root / area / f"{name}.yaml" for name in names])
    ours = merge({**MLRC, "config_dataset": dataset, "config_general": general})

    def plain(value: Any) -> Any:
        """The host reads an empty entry and an empty mapping alike."""
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return {} if value is None else value

    assert plain({key: ours[key] for key in host}) == plain(host)


@pytest.mark.parametrize(
    "name",
    sorted({p.stem for p in (ROOT / "config_optimizers").glob("*.yaml")} & {*LOSSES} - {"default"}),
)
def test_brought_optimizer_survives_the_benchmark_s(name: str) -> None:
    """The user's --config_optimizers mlrc comes after what a loss brings along.

    It says how trunk and embedder are trained, and that all rates are constant.
    """
    brought = merge({"config_loss": name})["optimizers"]
    own = {
        key: {k: v for k, v in entry.items() if not k.startswith("scheduler")}
        for key, entry in brought.items()
    }
    merged = merge({"config_loss": name, "config_optimizers": "mlrc"})["optimizers"]
    mlrc = load("config_optimizers/mlrc")["optimizers"]
    expected = {key.removesuffix("~OVERRIDE~"): value for key, value in mlrc.items()}
    assert own.keys() > expected.keys()
    assert merged == own | expected


@pytest.mark.parametrize("name", LOSSES)
def test_every_part_of_a_student_drops_its_rate_at_the_end(name: str) -> None:
    """And no part of a baseline, which the host's own runner can then train too, unless asked."""
    drop = {"FinalStepLR": {"share": 0.25, "factor": 0.1}}
    asked = merge({"config_loss": name, "config_optimizers": "final_step"})["optimizers"]
    assert [entry["scheduler_by_epoch"] for entry in asked.values()] == [drop] * len(asked)
    own = merge({"config_loss": name})["optimizers"]
    found = [entry.get("scheduler_by_epoch") for entry in own.values()]
    assert found == [drop if name.startswith("slade") else None] * len(own)
    rates = merge({"config_loss": name, "config_optimizers": "constant"})["optimizers"]
    assert not any("scheduler_by_epoch" in entry for entry in rates.values())
    assert rates.keys() == own.keys()


def test_tuned_values_equal_the_published_ones(
    published: dict[tuple[str, str, str], float],
) -> None:
    for name, entries in TUNED.items():
        content = load(name)
        plain = {key.removesuffix("~OVERRIDE~"): value for key, value in content.items()}
        for path, (loss, parameter) in entries.items():
            value: Any = plain
            for key in path.split("."):
                value = value[key]
            assert value == published["CUB200", loss, parameter], f"{name}: {path}"


def test_comments_name_the_values_for_cars(published: dict[tuple[str, str, str], float]) -> None:
    """Each tuned value's comment gives its row in the table and what Cars-196 needs instead."""
    for name, entries in TUNED.items():
        lines = (ROOT / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        for path, (loss, parameter) in entries.items():
            key = path.split(".")[-1]
            at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{key}:"))
            note = " ".join(line.partition("#")[2] for line in lines[max(at - 2, 0) : at + 1])
            assert f"{loss} " in note, f"{name}: {key}"
            named = [float(text) for text in re.findall(r"Cars-196: ([-\d.]*\d)", note)]
            assert named, f"{name}: {key}"
            assert named[-1] == published["Cars196", loss, parameter], f"{name}: {key}"


SLADE_ON_PROXIES = ("normalized_softmax", "proxy_anchor", "proxy_nca")


def test_losses_with_class_weights_bring_their_optimizer() -> None:
    """Read from the files alone: what takes an embedding_size has weights for each class."""
    brings = {}
    for name in LOSSES:
        content = load(f"config_loss/{name}")
        specs = content.get("loss_funcs~OVERRIDE~") or content.get("loss_funcs") or {}
        loss = specs.get("metric_loss") or specs.get("metric_loss~OVERRIDE~") or {}
        for arguments in loss.values():
            if "embedding_size" in (arguments or {}):
                brings[name] = content[BRINGS]["config_optimizers"]
    expected = (
        "cosface", "cross_entropy", "normalized_softmax", "proxy_anchor", "proxy_nca",
        "proxy_nca_plus_plus",
    )  # fmt: skip
    students = {f"slade_{name}": [name, "slade_proxies"] for name in SLADE_ON_PROXIES}
    assert brings == {name: [name] for name in expected} | students


def test_a_key_belongs_to_one_area() -> None:
    """The host merges areas at the top level: of two equal keys the later area's would win."""
    keys = [key for area in AREAS for key in load(f"{area}/default")]
    assert len(keys) == len(set(keys))
