"""A trial is the command with values in the place of bounds: its stages, configs and score."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.search.trial import (
    SpaceRunner,
    TrialRunner,
    touches_teacher,
    values_of_stage,
)

MARGIN = "loss_funcs/metric_loss/ContrastiveLoss/neg_margin"
WEIGHT = "trainer/SladeStudent/loss_weights/basis_loss"
SEARCHES = sorted(path.stem for path in (config_root() / "config_loss").glob("*_search.yaml"))
SEARCHED = "{metric_loss: {ContrastiveLoss: {neg_margin~BAYESIAN~: [0.5, 1.5]}}}"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the command line."""

    def set_argv(*flags: str) -> None:
        words = [word for text in flags for word in text.split(" ") if word]
        monkeypatch.setattr(sys, "argv", ["run.py", *words])

    return set_argv


@pytest.fixture
def space(command: Callable[..., None], tmp_path: Path) -> Callable[..., SpaceRunner]:
    def read(*flags: str, bound: str = "lower") -> SpaceRunner:
        command(*flags)
        runner = SpaceRunner(bound, root_experiment_folder=str(tmp_path / "search"))
        runner.stages = runner.read_stages()  # type: ignore[attr-defined]
        return runner

    return read


# ---- what is searched ---------------------------------------------------------------------------


def test_the_space_of_a_baseline(space: Callable[..., Any]) -> None:
    found = space("--config_loss contrastive_search")
    names = {f"loss_funcs/metric_loss/ContrastiveLoss/{m}_margin" for m in ("pos", "neg")}
    assert found.space.keys() == names
    (stage,) = found.plan
    bounds = found.plan[stage]["config_loss"]["loss_funcs"]["metric_loss"]["ContrastiveLoss"]
    assert bounds["neg_margin~BAYESIAN~"] == [-0.2, 2.0]


@pytest.mark.parametrize(("bound", "value"), [("lower", 0.5), ("upper", 1.5)])
def test_the_bounds_are_tried_as_values(
    space: Callable[..., Any], bound: str, value: float
) -> None:
    found = space("--config_loss contrastive", f"--loss_funcs {SEARCHED}", bound=bound)
    assert found.stages["."].loss_funcs["metric_loss"]["ContrastiveLoss"]["neg_margin"] == value


def test_a_fixed_teacher_is_not_searched(space: Callable[..., Any]) -> None:
    found = space("--config_loss slade_search")
    assert list(found.stages) == ["teacher", "student"]  # no baseline
    assert list(found.plan) == ["teacher", "student"]
    assert "pseudo_labels/clusterer/KMeans/num_clusters" in found.space
    assert not touches_teacher(found.space)
    margins = found.stages["teacher"].loss_funcs["metric_loss"]["ContrastiveLoss"]
    assert margins == {"pos_margin": 0, "neg_margin": 1.0}


def test_a_searched_teacher_has_parameters_of_its_own(space: Callable[..., Any]) -> None:
    found = space("--config_loss slade_search", "--teacher.config_loss contrastive_search")
    assert {MARGIN, f"teacher/{MARGIN}"} <= found.space.keys()
    assert touches_teacher(found.space)
    assert (
        found.stages["teacher"].loss_funcs["metric_loss"]["ContrastiveLoss"]["neg_margin"] == -0.2
    )


@pytest.mark.parametrize("bound", ["lower", "upper"])
@pytest.mark.parametrize("name", SEARCHES)
def test_the_bounds_of_the_shipped_searches_are_accepted(
    space: Callable[..., Any], bench: Any, name: str, bound: str
) -> None:
    """A search builds every stage at both bounds; here k is smaller, as the pool is."""
    flags = f"--config_loss {name} {bench.tiny()}"
    if name.startswith("slade"):
        flags = bench.tiny_student(name).replace("{clusterer:", "{clusterer~OVERRIDE~:")
        flags += " --teacher.config_loss contrastive_search"
    flags = flags.replace("[16]", "[128]").replace("embedding_size: 16", "embedding_size: 128")
    found = space(f"{flags} --dataset_root {bench.dataset_root}", bound=bound)
    parsers = [found.try_to_build(args, trunks=False) for args in found.stages.values()]
    students = ["SladeStudent"] if name.startswith("slade") else []
    assert [type(parser.trainer).__name__ for parser in parsers] == ["MetricLossOnly", *students]


def test_what_all_stages_share_has_one_value(space: Callable[..., Any]) -> None:
    size = "--models {trunk: {conv4: {hidden_size~INT_BAYESIAN~: [8, 16]}}}"
    found = space("--config_loss slade", size)
    assert list(found.space) == ["models/trunk/conv4/hidden_size"]
    assert touches_teacher(found.space)
    sizes = [args.models["trunk"]["conv4"]["hidden_size"] for args in found.stages.values()]
    assert sizes == [8, 8]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--config_loss contrastive", "nothing is searched; expected bounds such as"),
        ("--config_loss contrastive_search --evaluate", "--evaluate is given together with"),
        ("--config_loss contrastive --loss_funcs {metric_loss: {ContrastiveLoss: "
         "{neg_margn~BAYESIAN~: [0, 1]}}} --num_epochs_train 0", "num_epochs_train is 0"),
        ("--config_loss slade --models {trunk: {conv4: {hidden_size~INT_BAYESIAN~: [8, 16]}}} "
         "--teacher.models {trunk: {conv4: {hidden_size~INT_BAYESIAN~: [8, 32]}}}",
         r"has the bounds .* expected one value for all stages"),
        ("--config_loss slade_search --hook_container~APPLY~2 {primary_metric: AMI}",
         "primary_metric is 'AMI', which is not in the tables"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched(space: Callable[..., Any], flags: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space(flags)


def test_values_by_stage() -> None:
    values = {MARGIN: 1.0, f"teacher/{MARGIN}": 2.0, "models/trunk/size": 3.0}
    assert values_of_stage(values, "teacher") == {MARGIN: 2.0, "models/trunk/size": 3.0}
    for student in ("student", "round2/student", "."):
        assert values_of_stage(values, student) == {MARGIN: 1.0, "models/trunk/size": 3.0}
    assert not touches_teacher({MARGIN: 1.0, WEIGHT: 1.0})


# ---- trials -------------------------------------------------------------------------------------


@pytest.fixture
def trial(command: Callable[..., None], bench: Any, tmp_path: Path) -> Iterator[Any]:
    def make(*flags: str, name: str = "t0", **kwargs: Any) -> TrialRunner:
        command(*flags)
        kwargs = {"dataset_root": str(bench.dataset_root), **kwargs}
        return TrialRunner(name, root_experiment_folder=str(tmp_path), **kwargs)

    return make


def test_a_trial_is_the_command_with_values(trial: Any, bench: Any, tmp_path: Path) -> None:
    """The same tensors and records as without a search, and the host's own number as its score."""
    tiny = bench.tiny(schemes=2)
    runner = trial("--config_loss contrastive", tiny, f"--loss_funcs {SEARCHED}",
                   values={MARGIN: 0.75})  # fmt: skip
    mean, sem = runner.run_trial()
    plain = "--loss_funcs {metric_loss: {ContrastiveLoss: {neg_margin: 0.75}}}"
    by_hand = bench("--config_loss contrastive --experiment_name hand", tiny, plain, root=tmp_path)
    assert by_hand.code == 0, by_hand.err
    assert bench.tensors(tmp_path / "t0") == bench.tensors(tmp_path / "hand")
    records = bench.records(tmp_path / "t0")
    assert records == bench.records(tmp_path / "hand")
    (row,) = next(rows for table, rows in records.items() if "Aggregator" in table)
    names = ("mean_average_precision_at_r_level0", "SEM_mean_average_precision_at_r_level0")
    assert (mean, sem) == tuple(row[name] for name in names)
    saved = yaml.safe_load((tmp_path / "t0/configs/config_loss.yaml").read_text(encoding="utf-8"))
    assert saved["loss_funcs"]["metric_loss"]["ContrastiveLoss"]["neg_margin"] == 0.75
    # Asked again, e.g. when the search was stopped right after it: nothing is trained.
    before = bench.tensors(tmp_path / "t0")
    again = trial("--config_loss contrastive", tiny, f"--loss_funcs {SEARCHED}",
                  values={MARGIN: 0.75})  # fmt: skip
    assert again.run_trial() == (mean, sem)
    assert bench.tensors(tmp_path / "t0") == before


def test_a_trial_of_self_training_is_scored_by_its_student(trial: Any, bench: Any) -> None:
    weight = "--trainer {SladeStudent: {loss_weights: {basis_loss~LOG_BAYESIAN~: [0.1, 10]}}}"
    flags = (bench.tiny_student(schemes=2), weight)
    first = trial(*flags, values={WEIGHT: 0.5})
    mean, sem = first.run_trial()
    folder = first.folder
    assert sorted(p.parent.name for p in folder.glob("*/configs")) == ["student", "teacher"]
    student = bench.records(folder / "student")
    row = next(rows for table, rows in student.items() if "Aggregator" in table and "VAL" in table)[
        0
    ]
    assert mean == pytest.approx(row["mean_average_precision_at_r_level0"], abs=1e-12)
    assert sem == pytest.approx(row["SEM_mean_average_precision_at_r_level0"], abs=1e-12)
    # Another trial with the teacher of the first; a weight of the student's own.
    second = trial(*flags, "--teacher.num_epochs_train 1", name="t1", values={WEIGHT: 2.0},
                   teacher=folder / "teacher", seed=5)  # fmt: skip
    second.run_trial()
    assert [p.parent.name for p in second.folder.glob("*/configs")] == ["student"]
    saved = yaml.safe_load((second.measured / "configs/config_general.yaml").read_text("utf-8"))
    assert saved["trainer"]["SladeStudent"]["loss_weights"]["basis_loss"] == 2.0
    assert saved["seed"] == 5
    assert saved["teacher_experiment"] == str(folder / "teacher")


def test_a_trial_stopped_before_its_first_checkpoint_starts_anew(
    trial: Any, bench: Any, tmp_path: Path
) -> None:
    left = tmp_path / "t0" / "configs" / "config_loss.yaml"
    left.parent.mkdir(parents=True)
    left.write_text("half", encoding="utf-8")
    runner = trial("--config_loss contrastive", bench.tiny(), f"--loss_funcs {SEARCHED}",
                   values={MARGIN: 1.0})  # fmt: skip
    assert 0 <= runner.run_trial() <= 1
    assert "neg_margin: 1.0" in left.read_text(encoding="utf-8")
