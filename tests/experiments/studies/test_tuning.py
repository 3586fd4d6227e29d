import csv
import io
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.experiments.studies.plan import MARKERS, Run, plan_runs
from slade_plugin.experiments.studies.study import Space, Study
from slade_plugin.experiments.studies.tuning import (
    Trial,
    best_values,
    plan_trials,
    points,
    trials_to_csv,
    tuning_to_markdown,
)
from tests.study_files import load_study, setting_of, value_of

TUNED: dict[str, Any] = {
    "flags": "--config_loss a --optimizers {trunk_optimizer: {Adam: {lr: $rate}}}",
    "tune": {"rate": [0.0001, 0.01, "log"]},
}
CHANGES: dict[str, Any] = {
    "plain": {"a": TUNED, "b": {"flags": "--config_loss b --x {y: $m}", "tune": {"m": [0, 2]}}},
    "controls": {
        "on_a": {
            "flags": "--config_loss slade --teacher.lr $rate",
            "teacher": "own",
            "tuned_as": "a",
        }
    },
    "tuning": {"trials": 4, "seed": 100},
    "new_splits": True,
}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return load_study(tmp_path, **CHANGES)


def scored(trials: list[Trial], scores: dict[str, list[float]]) -> list[Trial]:
    """The trials with these scores of each setting, on every data set."""
    left = {(t.dataset, t.setting): list(scores[t.setting]) for t in trials}
    return [
        Trial(t.dataset, t.setting, t.values, t.run, left[t.dataset, t.setting].pop(0))
        for t in trials
    ]


SCORES = {"a": [1.0, 4.0, 3.0, 2.0], "b": [9.0, 6.0, 7.0, 8.0]}


def test_points_cover_the_range_and_do_not_depend_on_the_call() -> None:
    spaces = {"rate": Space(1e-4, 1e-2, "log"), "margin": Space(0, 2)}
    found = points(spaces, 16)
    assert found == points(spaces, 16)
    assert found[:5] == points(spaces, 5)
    rates, margins = ([float(p[name]) for p in found] for name in ("rate", "margin"))
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert sum(rate < 1e-3 for rate in rates) == 8  # half of them below the middle of the logarithm
    assert sum(margin < 1 for margin in margins) == 8


def test_integers_are_whole() -> None:
    assert [Space(2, 12, "int").at(share) for share in (0, 0.26, 0.999)] == ["2", "5", "12"]


def test_a_range_may_differ_between_data_sets(tmp_path: Path) -> None:
    """The other parameters of a setting have one for all."""
    ranges = {"rate": {"dots": [1, 2, "log"], "blobs": [10, 20, "log"]}, "m": [0, 1]}
    flags = "--config_loss a --x {rate: $rate, m: $m}"
    study = load_study(tmp_path, **CHANGES | {"plain": {"a": {"flags": flags, "tune": ranges}}})
    trials = plan_trials(study, tmp_path)
    rates = {d: [float(t.values["rate"]) for t in trials if t.dataset == d] for d in study.datasets}
    assert rates["blobs"] == [pytest.approx(10 * rate) for rate in rates["dots"]]
    assert [t.values["m"] for t in trials[:4]] == [t.values["m"] for t in trials[4:]]


def test_every_tuned_setting_has_as_many_trials_of_one_seed(study: Study, tmp_path: Path) -> None:
    trials = plan_trials(study, tmp_path)
    assert len(trials) == 2 * 2 * 4  # data sets, settings, trials
    assert {trial.run.seed for trial in trials} == {100}
    assert len({trial.run.folder for trial in trials}) == len(trials)
    for trial in trials:
        assert trial.run.plain
        assert trial.run.evaluation == "val"  # never of test
        assert trial.score is None
        assert "random_seed: 100" in value_of(trial.run, "--split_manager~APPLY~2")
        (value,) = trial.values.values()
        flag = "--optimizers" if trial.setting == "a" else "--x"
        assert f": {value}}}" in value_of(trial.run, flag)


def test_the_best_values_fill_the_flags_also_of_settings_tuned_alike(
    study: Study, tmp_path: Path
) -> None:
    trials = scored(plan_trials(study, tmp_path), SCORES)
    values = best_values(trials)
    second = points(setting_of(study, "a").tune["dots"], 4)[1]
    assert values["dots", "a"] == second
    assert values["blobs", "b"] == points(setting_of(study, "b").tune["blobs"], 4)[0]
    runs = plan_runs(study, tmp_path, study.seeds(2), values=values)
    for seed in (0, 1):
        assert value_of(runs["dots", seed, "on_a"], "--teacher.lr") == second["rate"]
        assert second["rate"] in value_of(runs["dots", seed, "a"], "--optimizers")
    assert not {run.folder for run in runs.values()} & {trial.run.folder for trial in trials}


def test_a_missing_trial_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(
        ExperimentError, match=r"16 trials are unfinished, such as dots seed100 a_tr"
    ):
        best_values(plan_trials(study, tmp_path))


def test_a_trial_that_diverged_scores_0(study: Study, tmp_path: Path) -> None:
    run = plan_trials(study, tmp_path)[0].run
    run.folder.mkdir(parents=True)
    (run.folder / MARKERS["val"]).write_text('{"diverged": true}')
    first, second, *_ = plan_trials(study, tmp_path)
    assert (first.score, second.score) == (0.0, None)


def test_every_trial_is_on_record(study: Study, tmp_path: Path) -> None:
    trials = scored(plan_trials(study, tmp_path), SCORES)
    table = tuning_to_markdown(trials, "dots")
    assert "| a | 4 | 2.50 | 4.00 | rate " in table
    assert "| b | 4 | 7.50 | 9.00 | m " in table
    rows = list(csv.DictReader(io.StringIO(trials_to_csv(trials))))
    assert len(rows) == 16
    assert {row["seed"] for row in rows} == {"100"}
    assert [float(row["val mean_average_precision_at_r"]) for row in rows[:4]] == SCORES["a"]


def test_a_part_of_a_study_keeps_the_setting_whose_values_it_needs(study: Study) -> None:
    assert {setting.name for setting in study.selected(only=["on_a"]).settings} == {"a", "on_a"}


def test_a_data_set_may_have_its_own_number_of_trials(tmp_path: Path) -> None:
    numbers = {"dots": 1, "blobs": 3}
    study = load_study(tmp_path, **{**CHANGES, "tuning": {"trials": numbers, "seed": 100}})
    trials = plan_trials(study, tmp_path)
    for name, number in numbers.items():
        assert [t.setting for t in trials if t.dataset == name] == ["a"] * number + ["b"] * number
    of_blobs = plan_trials(study.selected(datasets=["blobs"]), tmp_path)
    assert of_blobs == [trial for trial in trials if trial.dataset == "blobs"]


def test_a_study_without_tuning_has_no_trials(tmp_path: Path) -> None:
    assert plan_trials(load_study(tmp_path), tmp_path) == []
    assert best_values([]) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tuning": "absent"}, "tuning is None; expected the keys trials, seed"),
        ({"tuning": {"trials": 0, "seed": 1}}, "trials 0 and seed 1, .*at least one trial"),
        ({"tuning": {"trials": 2, "seed": -1}}, "seed -1, .*at least 0"),
        ({"tuning": {"trials": {"dots": 2}, "seed": 1}}, "tuning: trials has values for dots; "),
        ({"plain": {"a": None}, "controls": "absent"}, "for the settings none; expected .* tune"),
        (
            {"controls": {"c": {"tuned_as": "d"}}},
            "c is tuned_as 'd'; expected a setting with tune: a, b",
        ),
        *(
            ({"plain": {"a": {**TUNED, "tune": {"rate": value}}}}, "a: tune: rate is .*; expected")
            for value in (3, [1], [2, 1], [0, 1, "log"], [1, 2, "lin"], ["1", 2], [0.5, 2, "int"])
        ),
        (
            {"plain": {"a": {**TUNED, "tune": {"rate": {"dots": [0, 1]}}}}},
            "a: tune: rate has values for dots; expected one value, or one for each of dots, blobs",
        ),
    ],
)
def test_a_malformed_tuning_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{message}"):
        load_study(tmp_path, **{**CHANGES, **changes})


def test_a_run_of_a_trial_is_one_of_a_plain_experiment(study: Study, tmp_path: Path) -> None:
    (first, *_) = plan_trials(study, tmp_path)
    assert isinstance(first.run, Run)
    assert first.run.title == "dots seed100 a_trial0"
