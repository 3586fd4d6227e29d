"""Whole searches on tiny Glyphs: stopped, gone on with, repeated, reported.

Ax is imported by the first of these tests, which takes seconds.
"""

import importlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from pytorch_metric_learning.trainers import MetricLossOnly

from slade_plugin.base.errors import DivergenceError
from slade_plugin.experiments.search.trial import TrialRunner
from slade_plugin.method.trainers import SladeStudent

# Ax warns of what it will drop in its next version, for which setup.py asks not.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
]

MARGIN = "loss_funcs/metric_loss/ContrastiveLoss/neg_margin"
WEIGHT = "trainer/SladeStudent/loss_weights/basis_loss"
BASELINE = "--config_loss contrastive_search"
STUDENT = (
    "--trainer {SladeStudent: {loss_weights: {basis_loss~LOG_BAYESIAN~: [0.1, 10]}}} "
    "--loss_funcs {metric_loss: {ContrastiveLoss: {neg_margin~BAYESIAN~: [0.5, 1.5]}}, "
    "basis_loss: {FeatureBasisLoss: {embedding_size: 16}}}"
)


@pytest.fixture(autouse=True)
def coarse_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contours of 9 instead of 2,500 points, which would take most of the time."""
    contour = importlib.import_module("ax.plot.contour")
    coarse = partial(contour.interact_contour_plotly, density=3)
    monkeypatch.setattr(contour, "interact_contour_plotly", coarse)


@contextmanager
def stopped_at_step(trainer: type, step: int) -> Iterator[None]:
    """Stops whatever is trained by a trainer at one of its steps, as Ctrl-C does."""
    steps = 0
    original = trainer.calculate_loss  # type: ignore[attr-defined]

    def calculate_loss(self: Any, batch: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == step:
            raise KeyboardInterrupt
        original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "calculate_loss", calculate_loss)
        yield


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def parameters(search: Path) -> list[Any]:
    """Of the trials and reproductions, in their order."""
    return [load(path) for path in sorted(search.glob("*/bayes_opt_parameters.yaml"))]


def check_equal(bench: Any, search: Path, reference: Path, name: str) -> None:
    """Same values, scores and models, bit for bit; Ax stores 10 decimals of a score."""
    assert parameters(search) == parameters(reference)
    found, expected = (load(folder / "best_parameters.yaml") for folder in (search, reference))
    best, expected_best = (
        best.pop("best_values")["mean_average_precision_at_r"] for best in (found, expected)
    )
    assert best == pytest.approx(expected_best, abs=1e-9)
    assert found == expected
    assert bench.tensors(search / name) == bench.tensors(reference / name)
    records = "bayes_opt_record_keeper_logs"
    assert bench.records(search / records) == bench.records(reference / records)


def test_a_stopped_search_of_a_baseline_goes_on_as_if_it_had_not_been(
    bench: Any, tmp_path: Path
) -> None:
    command = (BASELINE, bench.tiny(schemes=2, epochs=2), "--bayes_opt_iters 3 --seed 4")
    with stopped_at_step(MetricLossOnly, 6):  # the second trial's first scheme, second epoch
        outcome = bench(*command, root=tmp_path / "stopped")
    assert outcome.code == 130, outcome.err
    search = tmp_path / "stopped" / "contrastive_search_seed4"
    assert not (search / "best_parameters.yaml").exists()
    outcome = bench(*command, "--reproductions 1", root=tmp_path / "stopped")
    assert outcome.code == 0, outcome.err
    assert "trial 1 of 3" not in outcome.out
    assert "trial 2 of 3" in outcome.out
    outcome = bench(*command, root=tmp_path / "whole")
    assert outcome.code == 0, outcome.err
    name = search.name
    check_equal(bench, search, tmp_path / "whole" / name, f"{name}1")

    best = load(search / "best_parameters.yaml")
    trials = [search / f"{name}{i}" for i in range(3)]
    assert best["best_sub_experiment_name"] in {trial.name for trial in trials}
    for margin in ("pos_margin", "neg_margin"):
        values = [p[MARGIN.replace("neg_margin", margin)] for p in parameters(search)]
        assert all(-0.2 <= value <= 2 for value in values)
        assert len(set(values)) == 3
    reproduction = search / f"{best['best_sub_experiment_name']}_reproduction0"
    assert load(reproduction / "configs" / "config_general.yaml")["seed"] == 104
    saved = load(reproduction / "configs" / "config_loss.yaml")["loss_funcs"]["metric_loss"]
    assert saved["ContrastiveLoss"]["neg_margin"] == best["best_parameters"][MARGIN]
    check_reports(search, 2)
    assert "optimization_plots" in " ".join(p.name for p in search.glob("*.html"))


def check_reports(search: Path, repetitions: int) -> None:
    """Apart and side by side, with an interval once the best trial was repeated."""
    reports = [load(path) for path in sorted(search.glob("report_*.yaml"))]
    assert len(reports) == 2
    for path in search.glob("detailed_report_*.yaml"):
        rows = [row["trained"] for row in load(path).values()]
        assert len(rows) == repetitions
    for report in reports:
        entry = report["trained"]["mean_average_precision_at_r_level0"]
        assert 0 < entry["mean"] <= 1
        assert ("95%_confidence_interval" in entry) == (repetitions > 1)


@pytest.mark.slow
def test_a_stopped_search_of_students_of_one_teacher(bench: Any, tmp_path: Path) -> None:
    """It resumes where its folder was moved to and under its new name."""
    command = (bench.tiny_student(schemes=2), STUDENT, "--bayes_opt_iters 2")
    with stopped_at_step(SladeStudent, 4):  # the second trial's second scheme
        outcome = bench(*command, root=tmp_path / "stopped")
    assert outcome.code == 130, outcome.err
    (tmp_path / "moved").mkdir()
    search = (tmp_path / "stopped" / "slade_seed0").rename(tmp_path / "moved" / "renamed")
    (tmp_path / "stopped").rmdir()
    command += ("--experiment_name renamed",)
    outcome = bench(*command, "--reproductions 1", root=tmp_path / "moved")
    assert outcome.code == 0, outcome.err
    assert "trial 1 of 2" not in outcome.out
    outcome = bench(*command[:-1], root=tmp_path / "whole")
    assert outcome.code == 0, outcome.err
    check_equal(bench, search, tmp_path / "whole" / "slade_seed0", "slade_seed01/student")
    assert parameters(search)[0].keys() == {MARGIN, WEIGHT}
    teachers = {path.parent.name for path in search.glob("*/teacher")}
    best = load(search / "best_parameters.yaml")["best_sub_experiment_name"]
    assert teachers == {"slade_seed00", f"{best}_reproduction0"}  # a repetition repeats it all
    assert not any(search.glob("*/baseline"))
    check_reports(search, 2)


@pytest.mark.slow
def test_a_searched_teacher_is_trained_in_every_trial(bench: Any, tmp_path: Path) -> None:
    teacher = (
        "--teacher.loss_funcs {metric_loss: {ContrastiveLoss: {neg_margin~BAYESIAN~: [0, 1]}}}"
    )
    command = (bench.tiny_student(), STUDENT, teacher, "--bayes_opt_iters 2")
    outcome = bench(*command, root=tmp_path)
    assert outcome.code == 0, outcome.err
    trials = sorted((tmp_path / "slade_seed0").glob("slade_seed0[01]"))
    assert len(trials) == 2
    for trial, values in zip(trials, parameters(tmp_path / "slade_seed0"), strict=True):
        losses = load(trial / "teacher" / "configs" / "config_loss.yaml")["loss_funcs"]
        margin = losses["metric_loss"]["ContrastiveLoss"]["neg_margin"]
        assert margin == values[f"teacher/{MARGIN}"]
        assert margin != values[MARGIN]


@pytest.mark.slow
def test_one_parameter_more_trials_and_new_bounds(bench: Any, tmp_path: Path) -> None:
    """From the sixth trial on Ax's model chooses, seeded too."""

    def command(bounds: str, trials: int) -> tuple[str, ...]:
        searched = f"{{metric_loss: {{ContrastiveLoss: {{neg_margin~BAYESIAN~: {bounds}}}}}}}"
        config = "--config_loss contrastive --experiment_name one"
        return config, bench.tiny(), f"--loss_funcs {searched} --bayes_opt_iters {trials}"

    assert bench(*command("[0.5, 1.5]", 5), root=tmp_path / "a").code == 0
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    for root in (tmp_path / "a", tmp_path / "b"):
        outcome = bench(*command("[0.5, 1.5]", 6), root=root)
        assert outcome.code == 0, outcome.err
    assert parameters(tmp_path / "a" / "one") == parameters(tmp_path / "b" / "one")
    plots = (tmp_path / "a" / "one" / "optimization_plots.html").read_text(encoding="utf-8")
    assert plots.count("Plotly.newPlot(") == 2  # the scores, and what the model makes of them

    outcome = bench(*command("[1.0, 1.1]", 7), root=tmp_path / "a")
    assert outcome.code == 2
    assert "neg_margin~BAYESIAN~ was [0.5, 1.5] and is now [1.0, 1.1]" in outcome.err
    outcome = bench(
        *command("[1.0, 1.1]", 7), "--merge_argparse_when_resuming", root=tmp_path / "a"
    )
    assert outcome.code == 0, outcome.err
    assert 1.0 <= parameters(tmp_path / "a" / "one")[-1][MARGIN] <= 1.1


@pytest.mark.slow
def test_a_trial_that_diverges_scores_nothing(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first trial meets a NaN; the second is the best. If all do, an error says so."""
    run = TrialRunner.run
    diverging = {"contrastive_search_seed00"}

    def run_or_diverge(self: TrialRunner) -> Any:
        if self.folder.name in diverging:
            self.folder.mkdir(parents=True, exist_ok=True)
            raise DivergenceError("the run stopped: Input contains NaN")
        return run(self)

    monkeypatch.setattr(TrialRunner, "run", run_or_diverge)
    command = (BASELINE, bench.tiny(), "--bayes_opt_iters 2")
    assert bench(*command, root=tmp_path / "one").code == 0
    search = tmp_path / "one" / "contrastive_search_seed0"
    assert load(search / "best_parameters.yaml")["best_sub_experiment_name"] == f"{search.name}1"
    diverging.add("contrastive_search_seed01")
    outcome = bench(*command, root=tmp_path / "all")
    assert outcome.code == 2
    assert "scored above 0; expected one that can be trained" in outcome.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--bayes_opt_iters -1", "--bayes_opt_iters is -1 and --reproductions 0; expected"),
        ("--reproductions 2", "--bayes_opt_iters is 0 and --reproductions 2"),
        ("--bayes_opt_iters 2 --optimizers {trunk_optimizer: {Adam: {lr~BAYESIAN~: [-1, 1]}}}",
         "Invalid learning rate"),
    ],
)  # fmt: skip
def test_refused_before_any_training(bench: Any, tmp_path: Path, flags: str, message: str) -> None:
    outcome = bench(BASELINE, bench.tiny(), flags, root=tmp_path)
    assert outcome.code == 2
    assert message in outcome.err
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_another_command_in_the_same_folder(bench: Any, tmp_path: Path) -> None:
    name = tmp_path / "contrastive_search_seed0"
    name.mkdir()
    (name / "search.json").write_text(json.dumps({"plan": {}, "environment": []}), "utf-8")
    outcome = bench(BASELINE, bench.tiny(), "--bayes_opt_iters 2", root=tmp_path)
    assert outcome.code == 2
    assert "was started with another config" in outcome.err


def test_a_search_is_done_by_one_process(bench: Any, hold: Any, tmp_path: Path) -> None:
    """It holds its folder, and with it the trials."""
    flags = f"{BASELINE} {bench.tiny()} --bayes_opt_iters 1 --experiment_name taken"
    for place in ("taken", "taken/taken0"):
        holder = hold(tmp_path / place)
        outcome = bench(flags, root=tmp_path)
        assert outcome.code == 2
        assert "the search folder" in outcome.err
        assert f"by process {holder.pid} on " in outcome.err
        holder.kill()
        holder.wait()
