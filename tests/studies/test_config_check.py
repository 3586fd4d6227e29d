import json
import sys
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.config.composition import config_root
from slade_plugin.errors import ConfigError
from slade_plugin.studies.config_check import check_configs, read_plan
from slade_plugin.studies.plan import Setting, Study, plan_runs

WHOLE = Setting("whole", ("--config_loss", "slade"), own_teacher=True, own_baseline=True)
SHIPPED = sorted((config_root() / "studies").glob("*.yaml"))


def runs_of(folder: Path, *settings: Setting, seeds: int = 1) -> Any:
    return plan_runs(Study("s", {"dots": ()}, "whole", (WHOLE, *settings)), folder, range(seeds))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_run_py_takes_every_setting_of_the_shipped_studies(path: Path, tmp_path: Path) -> None:
    assert check_configs(plan_runs(Study.load(path), tmp_path, [0]).values()) == []
    assert list(tmp_path.iterdir()) == []


def test_the_names_of_clusters_are_their_number(tmp_path: Path) -> None:
    """k_400 is the default without a flag, so that it is the run of other studies."""
    study = Study.load(config_root() / "studies" / "clusters.yaml")
    for (_, _, name), run in plan_runs(study.selected(["glyphs"]), tmp_path, [0]).items():
        labels = read_plan(run)["student"]["config_general"]["pseudo_labels"]
        assert name == f"k_{labels['num_clusters']}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config_loss", "slad"], "slad"),
        (["--config_loss", "slade", "--sed", "3"], "--sed is no flag"),
        (
            ["--config_loss", "slade", "--num_epochs_train", "2"],
            "save_interval is 4, above num_epochs_train 2",
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


def test_what_is_no_self_training_is_refused(tmp_path: Path) -> None:
    first = Setting("whole", ("--config_loss", "contrastive"), own_teacher=True, own_baseline=True)
    runs = plan_runs(Study("s", {"dots": ()}, "whole", (first,)), tmp_path, [0])
    with pytest.raises(ConfigError, match=r"whole on dots: .* is no self-training; expected"):
        check_configs(runs.values())


def test_a_run_of_another_config_is_noted_once(tmp_path: Path, finished: Path) -> None:
    """`finished` is a tiny pipeline, so its config differs from that of slade."""
    runs = runs_of(tmp_path, seeds=2)
    for seed in (0, 1):
        folder = runs["dots", seed, "whole"].experiment
        folder.mkdir(parents=True)
        (folder / "pipeline.json").write_text((finished / "pipeline.json").read_text())
    (note,) = check_configs(runs.values())
    assert note.startswith("dots whole was made with another config than today's: teacher/config_")
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
    general["pseudo_labels"]["num_iterations"] = 7
    del general["pipeline"]["baseline"]
    (run.experiment / "pipeline.json").write_text(json.dumps({"plan": plan}))
    (note,) = check_configs(runs.values())
    assert note == (
        "dots low was made with another config than today's: "
        "student/config_general/pipeline/baseline was '<absent>' and is now True; "
        "student/config_general/pseudo_labels/num_iterations was 7 and is now 50"
    )
