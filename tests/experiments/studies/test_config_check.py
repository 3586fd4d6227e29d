import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.studies.config_check import (
    check_configs,
    read_each,
    read_plan,
)
from slade_plugin.experiments.studies.flags import flag_words
from slade_plugin.experiments.studies.lengths import row_lengths
from slade_plugin.experiments.studies.plan import MARKERS, plan_runs
from slade_plugin.experiments.studies.scores import read_scores
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.experiments.studies.study_file import read_study
from slade_plugin.stages.kinds import BASELINE, PLAIN, STUDENT, TEACHER
from slade_plugin.stages.table import METRICS
from tests.pipeline_runs import edit

WHOLE = Setting("whole", ("--config_loss", "slade"), own_teacher=True, own_baseline=True)
SHIPPED = sorted((config_root() / "studies").glob("*.yaml"))
PLANS: dict[tuple[str, ...], Any] = {}


def runs_of(folder: Path, *settings: Setting, seeds: int = 1) -> Any:
    return plan_runs(Study("s", {"dots": ()}, "whole", (WHOLE, *settings)), folder, range(seeds))


def read_plans(path: Path, folder: Path) -> dict[tuple[str, ...], Any]:
    """Flags to plans of the runs of the studies; each is read once, since it takes long."""
    runs = plan_runs(read_study(path), folder, [0]).values()
    PLANS.update(read_each([run for run in runs if run.flags not in PLANS], read_plan))
    return PLANS


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_run_py_takes_every_setting_of_the_shipped_studies(path: Path, tmp_path: Path) -> None:
    for run in plan_runs(read_study(path), tmp_path, [0]).values():
        plan = read_plans(path, tmp_path)[run.flags]
        assert (PLAIN if run.plain else STUDENT) in plan
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_students_of_the_shipped_studies_have_an_equally_long_baseline(
    path: Path, tmp_path: Path, make_experiment: Callable[..., Path]
) -> None:
    """On each data set, unless the study has none at all, or compares students of other lengths.

    Nothing is trained for it. With tuning the tuned plain experiment is the baseline.
    """
    study = read_study(path)
    runs = plan_runs(study, tmp_path, [0])
    for run in runs.values():
        plan = dict(read_plans(path, tmp_path)[run.flags])
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / MARKERS["test"]).touch()
        if run.plain:
            length = {k: plan[PLAIN]["config_general"][k] for k in ("num_epochs_train", "trainer")}
            make_experiment(run.experiment, {"test": (1,)}, **length)
            run.table.parent.mkdir(parents=True)
            run.table.touch()
            continue
        if run.teacher:
            del plan[TEACHER]
        run.table.parent.mkdir(parents=True)
        (run.experiment / "pipeline.json").write_text(json.dumps({"plan": plan}))
        scores = {"split": "test", "split_scheme": "mean", **dict.fromkeys(METRICS, 1)}
        rows = [{"experiment": row, **scores} for row in row_lengths(run)]
        run.table.write_text(json.dumps({"rows": rows}))
    for dataset in study.datasets:
        found = read_scores(study, runs, dataset)
        baselines = {row for row in found.rungs if row.endswith(BASELINE)}
        students = {setting.name for setting in study.settings if not setting.plain}
        assert bool(baselines) == (bool(students) and not study.poster and not study.trials)
        assert students <= {*found.rungs, *found.controls}
        longer = {s for s in students if s.endswith(("_40_epochs", "_two_rounds"))}  # on val
        if baselines or study.trials:
            assert students - longer <= {*found.baselines}


def test_the_names_of_clusters_are_their_number(tmp_path: Path) -> None:
    """k_400 is the default without a flag, so that it is the run of other studies."""
    study = read_study(config_root() / "studies" / "clusters.yaml")
    for (_, _, name), run in plan_runs(study.selected(["glyphs"]), tmp_path, [0]).items():
        labels = read_plan(run)["student"]["config_general"]["pseudo_labels"]
        assert name == f"k_{labels['clusterer']['KMeans']['num_clusters']}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config_loss", "slad"], "slad"),
        (["--config_loss", "slade", "--sed", "3"], "unknown flag or config key: --sed"),
        (
            ["--config_loss", "slade", "--num_epochs_train", "2"],
            "save_interval is 8, above num_epochs_train 2",
        ),
    ],
)
def test_a_setting_that_run_py_would_refuse_is_named(
    tmp_path: Path, flags: list[str], message: str
) -> None:
    before = list(sys.argv)
    runs = runs_of(tmp_path, Setting("other", tuple(flags)))
    with pytest.raises(ConfigError, match=f"(?s)other on dots: .*{message}"):
        check_configs(runs.values())
    assert sys.argv == before


def test_self_training_and_plain_experiments_are_told_apart(tmp_path: Path) -> None:
    first = Setting("whole", ("--config_loss", "contrastive"), own_teacher=True, own_baseline=True)
    runs = plan_runs(Study("s", {"dots": ()}, "whole", (first,)), tmp_path, [0])
    with pytest.raises(ConfigError, match=r"whole on dots: .* is not self-training; expected it u"):
        check_configs(runs.values())
    plain = Setting("plain", ("--config_loss", "slade_basis"), own_teacher=True, plain=True)
    with pytest.raises(ConfigError, match=r"plain on dots: .* is self-training; expected it under"):
        check_configs(runs_of(tmp_path, plain).values())


def test_a_run_of_another_config_is_noted_once(tmp_path: Path, finished: Path) -> None:
    """`finished` is a tiny pipeline, so its config differs from that of slade."""
    runs = runs_of(tmp_path, seeds=2)
    for seed in (0, 1):
        folder = runs["dots", seed, "whole"].experiment
        folder.mkdir(parents=True)
        (folder / "pipeline.json").write_text((finished / "pipeline.json").read_text())
    (note,) = check_configs(runs.values())
    assert note.startswith("dots whole was made with a different config: teacher/config_")
    assert " was " in note
    assert " and is now " in note


def test_seeds_and_places_are_no_difference(tmp_path: Path) -> None:
    """The runs of a setting, with their own teacher or a given one, have one config.

    A given teacher's baseline has its config as the host saved it, with transforms added.
    """
    low = Setting("low", ("--config_loss", "slade_basis"), own_baseline=True)
    runs = runs_of(tmp_path, low, seeds=2)
    for (_, seed, _), run in runs.items():
        plan = json.loads(json.dumps(read_plan(run)))
        general = plan["student"]["config_general"]
        general |= {"seed": seed, "teacher_experiment": f"/somewhere/{seed}"}
        general["pseudo_labels"] |= {"folder": f"/there/{seed}", "last_folder": None}
        if run.teacher:
            del plan["teacher"]
            plan["baseline"]["config_transforms"]["transforms"]["eval"]["ToTensor"] = {}
        run.experiment.mkdir(parents=True)
        (run.experiment / "pipeline.json").write_text(json.dumps({"plan": plan}))
    assert check_configs(runs.values()) == []
    general["pseudo_labels"]["clusterer"]["KMeans"]["num_iterations"] = 7
    del general["pipeline"]["baseline"]
    (run.experiment / "pipeline.json").write_text(json.dumps({"plan": plan}))
    (note,) = check_configs(runs.values())
    assert note == (
        "dots low was made with a different config: "
        "student/config_general/pipeline/baseline was '<absent>' and is now True; "
        "student/config_general/pseudo_labels/clusterer/KMeans/num_iterations was 7 and is now 50"
    )


def test_a_plain_run_of_another_config_is_noted(bench: Any, tmp_path: Path) -> None:
    """The host adds to the transforms that it saves."""
    words = f"--config_loss contrastive {bench.tiny()}"
    flags = tuple(flag_words("flags", words))
    study = Study("s", {"dots": ()}, "p", (Setting("p", flags, own_teacher=True, plain=True),))
    (run,) = plan_runs(study, tmp_path, [0]).values()
    assert check_configs([run]) == []
    data = ["--dataset_root", str(bench.dataset_root)]
    assert bench.run_words([*run.command(), *data]).code == 0
    assert check_configs([run]) == []
    path = run.experiment / "configs" / "config_general.yaml"
    edit(path, "num_epochs_train: 1", "num_epochs_train: 3")
    assert check_configs([run]) == [
        "dots p was made with a different config: "
        "plain/config_general/num_epochs_train was 3 and is now 1"
    ]
