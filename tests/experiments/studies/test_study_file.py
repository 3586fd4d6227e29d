from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.studies.plan import plan_runs
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.experiments.studies.study_file import read_study
from tests.study_files import load_study, value_of

SHIPPED = sorted((config_root() / "studies").glob("*.yaml"))


def test_a_study_file_is_read(tmp_path: Path) -> None:
    """Flags become words, from a text or a list; `first` trains its own teacher and baseline."""
    assert load_study(tmp_path) == Study(
        name="mine",
        datasets={"dots": (), "blobs": ("--config_dataset", "blobs")},
        first="whole",
        settings=(
            Setting("plain", ("--config_loss", "plain")),
            Setting("whole", ("--config_loss", "whole"), own_teacher=True, own_baseline=True),
            Setting(
                "swav",
                ("--config_loss", "whole", "--config_models", "swav"),
                own_teacher=True,
            ),
            Setting("oracle", ("--config_loss", "oracle"), control=True),
        ),
        flags=("--num_epochs_train", "2", "--sampler", "{m: 4}"),
    )


def test_controls_and_flags_may_be_left_out(tmp_path: Path) -> None:
    study = load_study(tmp_path, controls="absent", flags="absent")
    assert [s.name for s in study.settings] == ["plain", "whole", "swav"]
    assert study.flags == ()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_name_configs_that_exist(path: Path, tmp_path: Path) -> None:
    """What runs of one study may not be: two settings with one command."""
    study = read_study(path)
    assert study.name == path.stem
    runs = plan_runs(study, tmp_path, [0])
    assert len({run.folder for run in runs.values()}) == len(runs)
    for run in runs.values():
        for flag in (word for word in run.flags if word.startswith("--config_")):
            for name in value_of(run, flag).strip("[]").replace(",", " ").split():
                assert (config_root() / flag.removeprefix("--") / f"{name}.yaml").is_file()


def test_the_shipped_ladder_has_the_posters_rungs() -> None:
    study = read_study(config_root() / "studies" / "ladder.yaml")
    rungs = [setting.name for setting in study.settings if not setting.control]
    assert rungs == ["slade_pseudo_label", "slade_basis", "slade"]
    assert study.first == "slade"


def test_first_may_go_without_a_baseline(tmp_path: Path) -> None:
    alone = {"whole": {"flags": "--a 1", "baseline": False}}
    study = load_study(tmp_path, settings=alone, controls="absent")
    (setting,) = study.settings
    assert (setting.own_teacher, setting.own_baseline) == (True, False)


def test_rows_have_names_in_the_poster(tmp_path: Path) -> None:
    study = load_study(
        tmp_path, poster={"ablation": 3, "rows": {"teacher": "SD", "swav": "Local-CE"}}
    )
    assert (study.ablation, dict(study.poster)) == (3, {"teacher": "SD", "swav": "Local-CE"})


def test_plain_experiments_flags_of_one_data_set_and_lists_of_flags(tmp_path: Path) -> None:
    plain = {"soft": {"flags": "--config_loss soft", "datasets": {"blobs": "--config_loss sharp"}}}
    lists = [
        "--config_loss a --losses {x: {m: 1, n: 2}}",
        "--losses {x: {n: 3}, y~OVERRIDE~: {z: 1}}",
        "--losses {y~OVERRIDE~: {w: 2}}",
    ]
    study = load_study(tmp_path, plain=plain, controls={"list": lists})
    runs = plan_runs(study, tmp_path, [0])
    for dataset, loss in (("dots", "soft"), ("blobs", "sharp")):
        run = runs[dataset, 0, "soft"]
        assert run.plain
        assert run.evaluation == "test"
        assert runs[dataset, 0, study.first].evaluation == ""  # run.py's own
        assert run.teacher is None
        assert value_of(run, "--config_loss") == loss
        assert "--pipeline" not in run.flags
    losses = yaml.safe_load(value_of(runs["dots", 0, "list"], "--losses"))
    assert losses == {"x": {"m": 1, "n": 3}, "y~OVERRIDE~": {"w": 2}}
    with pytest.raises(ConfigError, match="plain: soft: datasets holds bobs; expected dots, blobs"):
        load_study(tmp_path, plain={"soft": {"flags": "--x 1", "datasets": {"bobs": "--x 2"}}})
    with pytest.raises(ConfigError, match="holds teacher; expected flags, datasets"):
        load_study(tmp_path, plain={"soft": {"flags": "--x 1", "teacher": "own"}})


@pytest.mark.parametrize(
    ("poster", "message"),
    [
        ("{ablation: 5, rows: {whole: SD}}", "poster has ablation 5"),
        ("{rows: {whole: SD}}", "names SD; the main table has: Contrastive, Triplet"),
        ("{ablation: 3}", "rows None; expected ablation 1 to 4"),
        ("{ablation: 3, rows: {}}", "rows {}; expected ablation 1 to 4"),
        ("{ablation: 3, rows: {hole: SD}}", "with rows of plain, whole, swav, teacher"),
        ("{ablation: 3, rows: {whole: k=100}}", "k=100; ablation 3 has: Local-CE, Global-CE, SD"),
        ("{ablation: 3, row: {whole: SD}}", "poster holds row; expected ablation, rows"),
    ],
)
def test_what_the_poster_has_not_is_refused(tmp_path: Path, poster: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_study(tmp_path, poster=yaml.safe_load(poster), controls="absent")


def test_a_missing_study_is_named_with_those_there(tmp_path: Path) -> None:
    for name in ("ladder", "margins"):
        (tmp_path / f"{name}.yaml").touch()
    with pytest.raises(
        ConfigError, match=r"no study 'lader' in .*expected one of: ladder, margins"
    ):
        read_study(tmp_path / "lader.yaml")


@pytest.mark.parametrize("content", ["", "[x]", "text", "{a: [", "3", "rungs: [x]"])
def test_what_is_no_study_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"(?s)a\.yaml.*expected"):
        read_study(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rungs": ["x"]},
            "holds rungs; expected datasets, first, settings, controls, plain, reference, poster",
        ),
        ({"datasets": {}}, r"datasets is \{\}; expected at least one NAME: FLAGS"),
        ({"datasets": "absent"}, "datasets is None; expected at least one NAME: FLAGS"),
        ({"datasets": {"a/b": None}}, "datasets holds the name 'a/b'; expected letters"),
        ({"datasets": {"a": 3}}, "datasets: a is 3; expected flags of run.py"),
        ({"settings": {}}, r"settings is \{\}; expected at least one"),
        ({"settings": {"a": "loss x"}}, "'loss' follows no flag"),
        ({"settings": {"a": "--x 'y"}}, 'settings: a is "--x \'y": No closing quotation'),
        ({"settings": {"a": ["--x", {"y": 1}]}}, "expected words, so a value in braces in quotes"),
        ({"settings": {"a": {"flag": "--x"}}}, "holds flag; expected flags, teacher, baseline"),
        ({"settings": {"a": {"teacher": "mine"}}}, "teacher 'mine' and .*expected first or own"),
        ({"settings": {"a": {"teacher": "own", "baseline": 1}}}, "baseline 1; expected"),
        ({"controls": {"c": {"baseline": "swav"}}}, "c has baseline 'swav'; expected .*: whole"),
        (
            {"settings": {"whole": {"baseline": "whole"}}},
            "whole has baseline 'whole'; expected true, false or a setting that .*: there is none",
        ),
        ({"settings": {"a": "--seed 3"}}, "--seed: the study sets this flag itself"),
        ({"controls": {"plain": None}}, "plain names more than one row"),
        ({"reference": "pale"}, "reference is 'pale'; expected one of settings or controls: "),
        ({"controls": {"teacher": None}}, "teacher names more than one row"),
        ({"first": "oracle"}, "first is 'oracle'; expected one of settings: plain, whole, swav"),
        ({"first": "absent"}, "first is None; expected one of settings"),
        ({"flags": {"a": "b"}}, "flags is .*expected flags of run.py, one text or a list"),
        ({"new_splits": "yes"}, "new_splits is 'yes' and first_seed 0; expected true or false"),
        ({"first_seed": -1}, "first_seed -1; expected .* a seed of at least 0"),
    ],
)
def test_a_malformed_study_says_what_is_wrong(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"mine\.yaml: .*{message}"):
        load_study(tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flags": "--config_loss a --x 1"}, "a on dots has no parameter in .* and rate in tune"),
        ({"flags": "--config_loss a --x $rat"}, "a on dots has rat in its flags and rate in tune"),
        ({"tune": {"rate": [1, 2], "m": [0, 1]}}, "has rate in its flags and m, rate in tune"),
        ({"tuned_as": "b"}, "a has tune and is tuned_as b; expected one of them"),
    ],
)
def test_ranges_and_parameters_in_flags_belong_together(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """Otherwise all trials would be one run, and the stated effort of tuning false."""
    good = {"flags": "--config_loss a --x $rate", "tune": {"rate": [1, 2]}}
    tuning = {"tuning": {"trials": 2, "seed": 9}}
    assert load_study(tmp_path, plain={"a": good, "b": good}, **tuning).trials
    with pytest.raises(ConfigError, match=message):
        load_study(tmp_path, plain={"a": good | changes, "b": good}, **tuning)


def test_a_parameter_of_an_untuned_setting_is_refused(tmp_path: Path) -> None:
    """Its name would go to run.py as it is."""
    tuned = {"flags": "--config_loss a", "tune": {"rate": [1, 2]}}
    datasets = {"dots": "--x $rate"}
    with pytest.raises(ConfigError, match="whole on dots has rate in its flags and no parameter"):
        load_study(
            tmp_path, datasets=datasets, settings={"whole": "--config_loss w"}, controls="absent",
            plain={"a": tuned}, tuning={"trials": 2, "seed": 9},
        )  # fmt: skip
