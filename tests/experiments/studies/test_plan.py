import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.command_line import CommandLine
from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.results.poster import ablation_settings, poster_rows
from slade_plugin.experiments.studies.config_check import PLAIN, read_stages
from slade_plugin.experiments.studies.evaluated_run import EVALUATED, EvaluatedRun
from slade_plugin.experiments.studies.plan import Run, Setting, Study, plan_runs

SHIPPED = sorted((config_root() / "studies").glob("*.yaml"))
CONTENT: dict[str, Any] = {
    "datasets": {"dots": None, "blobs": "--config_dataset blobs"},
    "first": "whole",
    "settings": {
        "plain": "--config_loss plain",
        "whole": ["--config_loss", "whole"],
        "swav": {"flags": "--config_loss whole --config_models swav", "teacher": "own"},
    },
    "controls": {"oracle": {"flags": "--config_loss oracle"}},
    "flags": '--num_epochs_train 2 --sampler "{m: 4}"',
}


def load(tmp_path: Path, **changes: Any) -> Study:
    path = tmp_path / "mine.yaml"
    content = {k: v for k, v in {**CONTENT, **changes}.items() if v != "absent"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return Study.load(path)


def value_of(run: Run, flag: str) -> str:
    """The words behind a flag of run.py."""
    words = run.command()
    start = words.index(flag) + 1
    end = next((i for i in range(start, len(words)) if words[i].startswith("--")), len(words))
    return " ".join(words[start:end])


# ---- study files --------------------------------------------------------------------------------


def test_a_study_file_is_read(tmp_path: Path) -> None:
    """Flags become words, from a text or a list; `first` trains its own teacher and baseline."""
    assert load(tmp_path) == Study(
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
    study = load(tmp_path, controls="absent", flags="absent")
    assert [s.name for s in study.settings] == ["plain", "whole", "swav"]
    assert study.flags == ()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_name_configs_that_exist(path: Path, tmp_path: Path) -> None:
    """What runs of one study may not be: two settings with one command."""
    study = Study.load(path)
    assert study.name == path.stem
    runs = plan_runs(study, tmp_path, [0])
    assert len({run.folder for run in runs.values()}) == len(runs)
    for run in runs.values():
        for flag in (word for word in run.flags if word.startswith("--config_")):
            for name in value_of(run, flag).strip("[]").replace(",", " ").split():
                assert (config_root() / flag.removeprefix("--") / f"{name}.yaml").is_file()


def test_the_shipped_ladder_has_the_posters_rungs() -> None:
    study = Study.load(config_root() / "studies" / "ladder.yaml")
    rungs = [setting.name for setting in study.settings if not setting.control]
    assert rungs == ["slade_pseudo_label", "slade_basis", "slade"]
    assert study.first == "slade"


def test_shipped_studies_share_the_runs_of_slade(tmp_path: Path) -> None:
    """Compute is short: a teacher that one study has trained is not trained by the next."""
    found: dict[Path, set[str]] = {}
    for study in map(Study.load, SHIPPED):
        if "glyphs" in study.datasets and not study.poster:
            run = plan_runs(study, tmp_path, [0])["glyphs", 0, study.first]
            found.setdefault(run.folder, set()).add(study.name)
    whole, short = sorted(found.values(), key=len)
    assert whole == {"ladder", "mining_clusters", "mining_start"}
    assert {"mining", "clusters", "rounds", "paper"} < short


@pytest.mark.parametrize("dataset", ["cub200_nabirds", "cars196_compcars", "in_shop_fashion200k"])
def test_the_poster_s_ablations_share_the_runs_of_its_main_table(
    dataset: str, tmp_path: Path
) -> None:
    """Weeks of a GPU: the whole method is trained once, and T2 once for all its students."""
    table = Study.load(config_root() / "studies" / "main_table.yaml").selected([dataset])
    of_table = plan_runs(table, tmp_path, [0], kind=EvaluatedRun)
    studies = [Study.load(path) for path in SHIPPED if path.stem.startswith("ablation_")]
    assert [study.ablation for study in studies] == [1, 2, 3, 4]
    for study in studies:
        runs = plan_runs(study.selected([dataset]), tmp_path, [0], kind=EvaluatedRun)
        assert runs[dataset, 0, study.first].folder == of_table[dataset, 0, "S2"].folder
        trained = [run for run in runs.values() if run.teacher is None]
        assert len(trained) == (3 if study.ablation == 1 else 1)
        assert set(study.poster.values()) == {*ablation_settings(study.ablation)}
        if study.ablation == 1:
            assert runs[dataset, 0, "imagenet"].folder == of_table[dataset, 0, "S1"].folder


MAIN_TABLES = [
    (name, dataset)
    for name in ("main_table", "main_table_glyphs")
    for dataset in yaml.safe_load((config_root() / "studies" / f"{name}.yaml").read_text())[
        "datasets"
    ]
]


@pytest.mark.parametrize(("name", "dataset"), MAIN_TABLES)
def test_every_row_of_the_main_table_is_there_and_run_py_takes_it(
    name: str, dataset: str, tmp_path: Path
) -> None:
    study = Study.load(config_root() / "studies" / f"{name}.yaml").selected([dataset])
    assert {*study.poster.values()} == {*poster_rows()} - {"Proxy-Anchor (1)"}
    for (_, _, setting), run in plan_runs(study, tmp_path, [0], kind=EvaluatedRun).items():
        stages = read_stages(run)
        assert run.plain == (PLAIN in stages) == (setting not in ("S1", "S2", "S3", "S4"))
        for args in stages.values():
            (trunk,) = args.models["trunk"]
            swav = setting in ("S2", "S4")
            assert bool(getattr(args, "self_supervised", None)) == swav
            if dataset == "glyphs":
                assert trunk == "conv4"
            elif not run.plain:
                assert trunk == ("TorchvisionTrunk" if swav else "resnet50")
            else:
                early = ("proxy_anchor_2", "proxy_nca_plus_plus", "mutual_info")
                assert (trunk == "bninception") == (setting not in early)


def test_the_main_table_on_cars_is_run_as_tuned_on_cars(tmp_path: Path) -> None:
    study = Study.load(config_root() / "studies" / "main_table.yaml")
    runs = plan_runs(study, tmp_path, [0])
    contrastive = read_stages(runs["cars196_compcars", 0, "contrastive"])[PLAIN].loss_funcs
    margins = {"pos_margin": 0.2652, "neg_margin": 0.5409}
    assert contrastive["metric_loss"]["ContrastiveLoss"] == margins
    tuned = {"alpha": 7.49, "beta": 47.99, "base": 0.63}
    for args in read_stages(runs["cars196_compcars", 0, "S3"]).values():
        assert args.loss_funcs["metric_loss"]["MultiSimilarityLoss"] == tuned
    other = read_stages(runs["cub200_nabirds", 0, "S3"])["student"].loss_funcs
    assert other["metric_loss"]["MultiSimilarityLoss"] != tuned


def test_losses_of_2048_numbers_fit_their_embedders(tmp_path: Path) -> None:
    study = Study.load(config_root() / "studies" / "main_table.yaml").selected(["cub200_nabirds"])
    runs = plan_runs(study, tmp_path, [0])
    for name in ("proxy_nca_plus_plus", "mutual_info"):
        args = read_stages(runs["cub200_nabirds", 0, name])[PLAIN]
        (loss,) = args.loss_funcs["metric_loss"].values()
        assert loss["embedding_size"] == 2048
    assert args.models["embedder"] == {"Identity": {}}
    assert "embedder_optimizer" not in args.optimizers


def test_a_run_that_is_evaluated_is_finished_after_that(tmp_path: Path) -> None:
    study = Study.load(config_root() / "studies" / "main_table_glyphs.yaml")
    assert study.evaluated
    run = plan_runs(study, tmp_path, [0], kind=EvaluatedRun)["glyphs", 0, "S1"]
    run.table.parent.mkdir(parents=True)
    run.table.touch()
    assert not run.finished
    (run.folder / EVALUATED).touch()
    assert run.finished


def test_runs_of_the_ladder_are_found_again(tmp_path: Path) -> None:
    """Hours of computing lie under these names: another one must be meant."""
    study = Study.load(config_root() / "studies" / "ladder.yaml")
    runs = plan_runs(study, tmp_path, [0])
    names = {
        setting: run.folder.name for (data, _, setting), run in runs.items() if data == "glyphs"
    }
    assert names == {
        "slade": "slade-abc509623f",
        "slade_pseudo_label": "slade_pseudo_label-0d25502f0d",
        "slade_basis": "slade_basis-6e1eb9e4de",
        "slade_labeled_only": "slade_labeled_only-6e134e83db",
        "slade_oracle": "slade_oracle-3b390fc2c3",
    }


def test_first_may_go_without_a_baseline(tmp_path: Path) -> None:
    alone = {"whole": {"flags": "--a 1", "baseline": False}}
    study = load(tmp_path, settings=alone, controls="absent")
    (setting,) = study.settings
    assert (setting.own_teacher, setting.own_baseline) == (True, False)


def test_a_setting_may_be_compared_with_the_baseline_of_another(tmp_path: Path) -> None:
    """Which is no other command: its run is the same as without a baseline."""
    settings = {
        "whole": "--a 1",
        "longer": {"flags": "--a 2", "baseline": True},
        "low": {"flags": "--a 3", "baseline": "longer"},
    }
    study = load(tmp_path, settings=settings, controls={"c": {"baseline": "whole"}})
    assert [(s.own_baseline, s.baseline_of) for s in study.settings] == [
        *((True, ""), (True, ""), (False, "longer"), (False, "whole")),
    ]
    without = load(tmp_path, settings={**settings, "low": "--a 3"}, controls="absent")
    run = plan_runs(study, tmp_path, [0])["dots", 0, "low"]
    assert run == plan_runs(without, tmp_path, [0])["dots", 0, "low"]


def test_rows_have_names_in_the_poster(tmp_path: Path) -> None:
    study = load(tmp_path, poster={"ablation": 3, "rows": {"teacher": "SD", "swav": "Local-CE"}})
    assert (study.ablation, dict(study.poster)) == (3, {"teacher": "SD", "swav": "Local-CE"})


def test_plain_experiments_flags_of_one_data_set_and_lists_of_flags(tmp_path: Path) -> None:
    plain = {"soft": {"flags": "--config_loss soft", "datasets": {"blobs": "--config_loss sharp"}}}
    lists = [
        "--config_loss a --losses {x: {m: 1, n: 2}}",
        "--losses {x: {n: 3}, y~OVERRIDE~: {z: 1}}",
        "--losses {y~OVERRIDE~: {w: 2}}",
    ]
    study = load(tmp_path, plain=plain, controls={"list": lists})
    assert study.evaluated
    runs = plan_runs(study, tmp_path, [0])
    for dataset, loss in (("dots", "soft"), ("blobs", "sharp")):
        run = runs[dataset, 0, "soft"]
        assert run.plain
        assert run.teacher is None
        assert value_of(run, "--config_loss") == loss
        assert "--pipeline" not in run.flags
    losses = yaml.safe_load(value_of(runs["dots", 0, "list"], "--losses"))
    assert losses == {"x": {"m": 1, "n": 3}, "y~OVERRIDE~": {"w": 2}}
    with pytest.raises(ConfigError, match="plain: soft: datasets holds bobs; expected dots, blobs"):
        load(tmp_path, plain={"soft": {"flags": "--x 1", "datasets": {"bobs": "--x 2"}}})
    with pytest.raises(ConfigError, match="holds teacher; expected flags, datasets"):
        load(tmp_path, plain={"soft": {"flags": "--x 1", "teacher": "own"}})


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
        load(tmp_path, poster=yaml.safe_load(poster), controls="absent")


def test_a_missing_study_is_named_with_those_there(tmp_path: Path) -> None:
    for name in ("ladder", "margins"):
        (tmp_path / f"{name}.yaml").touch()
    with pytest.raises(
        ConfigError, match=r"no study 'lader' in .*expected one of: ladder, margins"
    ):
        Study.load(tmp_path / "lader.yaml")


@pytest.mark.parametrize("content", ["", "[x]", "text", "{a: [", "3", "rungs: [x]"])
def test_what_is_no_study_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    with pytest.raises(ConfigError, match=r"(?s)a\.yaml.*expected"):
        Study.load(tmp_path / "a.yaml")


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
        load(tmp_path, **changes)


def test_a_part_of_a_study(tmp_path: Path) -> None:
    """`first` stays as long as it trains the teacher of another one."""
    study = load(tmp_path)
    assert list(study.selected(datasets=["blobs"]).datasets) == ["blobs"]
    for changes, names in (
        ({}, ["plain", "whole", "swav", "oracle"]),
        ({"only": ["oracle"]}, ["whole", "oracle"]),
        ({"without": ["plain", "oracle"]}, ["whole", "swav"]),
        ({"only": ["oracle", "plain"], "without": ["plain"]}, ["whole", "oracle"]),
        ({"without": ["whole"]}, ["plain", "whole", "swav", "oracle"]),
        ({"only": ["swav"]}, ["swav"]),
    ):
        assert [s.name for s in study.selected(**changes).settings] == names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"datasets": ["birds"]}, "--datasets birds; study mine has: dots, blobs"),
        ({"only": ["who"]}, "--only who .*; study mine has: plain, whole, swav, oracle"),
        ({"only": ["swav"], "without": ["swav"]}, "--without swav leaves no setting"),
    ],
)
def test_an_unknown_part_is_refused(
    tmp_path: Path, changes: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path).selected(**changes)


# ---- runs ---------------------------------------------------------------------------------------


def test_seeds_are_finished_one_by_one_and_first_goes_before_those_that_take_its_teacher(
    tmp_path: Path,
) -> None:
    keys = list(plan_runs(load(tmp_path), tmp_path, [0, 1]))
    assert keys == [
        (dataset, seed, setting)
        for seed in (0, 1)
        for dataset in ("dots", "blobs")
        for setting in ("whole", "plain", "swav", "oracle")
    ]


def test_commands(tmp_path: Path) -> None:
    runs = plan_runs(load(tmp_path), tmp_path, [4], ["--dataset_root", "/data", "--x={a:", "b}"])
    whole, plain, swav = (runs["blobs", 4, name] for name in ("whole", "plain", "swav"))
    for run in (whole, plain, swav):
        assert value_of(run, "--config_dataset") == "blobs"
        assert value_of(run, "--num_epochs_train") == "2"
        assert value_of(run, "--sampler") == "{m: 4}"
        assert value_of(run, "--x") == "{a: b}"
        assert value_of(run, "--dataset_root") == "/data"
        assert value_of(run, "--seed") == "4"
        assert value_of(run, "--root_experiment_folder") == str(run.folder)
        assert value_of(run, "--experiment_name") == "experiment"
        assert run.folder.parent == tmp_path / "blobs" / "seed4"
    assert "--config_dataset" not in runs["dots", 4, "whole"].command()
    assert "--pipeline" not in whole.command()
    assert "--teacher_experiment" not in whole.command()
    assert value_of(plain, "--teacher_experiment") == str(whole.folder / "experiment" / "teacher")
    assert value_of(plain, "--pipeline") == "{baseline: false}"
    assert "--teacher_experiment" not in swav.command()
    assert value_of(swav, "--pipeline") == "{baseline: false}"


def test_a_setting_may_have_its_own_baseline_and_say_what_its_teacher_is(tmp_path: Path) -> None:
    """Our `baseline: false` joins what the flags say of the pipeline."""
    flags = "--config_loss whole --pipeline '{teacher: {config_loss: triplet}}'"
    settings = {
        "whole": "--config_loss whole",
        "a": {"flags": flags, "teacher": "own", "baseline": True},
        "b": {"flags": flags, "teacher": "own"},
    }
    runs = plan_runs(load(tmp_path, settings=settings), tmp_path, [0])
    assert value_of(runs["dots", 0, "a"], "--pipeline") == "{teacher: {config_loss: triplet}}"
    assert yaml.safe_load(value_of(runs["dots", 0, "b"], "--pipeline")) == {
        "teacher": {"config_loss": "triplet"},
        "baseline": False,
    }
    broken = load(tmp_path, settings={**settings, "c": "--pipeline yes"})
    with pytest.raises(ConfigError, match=r"c: --pipeline is yes; expected \{KEY: VALUE\}"):
        plan_runs(broken, tmp_path, [0])


def test_a_setting_of_a_given_teacher_may_have_a_baseline(tmp_path: Path) -> None:
    """Which is as long as that teacher and its own students."""
    settings = {"whole": "", "more": {"flags": "--config_loss whole --rounds 2", "baseline": True}}
    runs = plan_runs(load(tmp_path, settings=settings), tmp_path, [0])
    command = runs["dots", 0, "more"].command()
    assert "--teacher_experiment" in command
    assert "--pipeline" not in command


def test_flags_for_the_teacher_reach_the_run_that_trains_it(tmp_path: Path) -> None:
    """Those of the data set and the study; run.py refuses them beside a given teacher."""
    study = load(tmp_path, datasets={"dots": "--teacher.sampler {m: 2}"},
                 flags="--teacher.num_epochs_train 3 --num_epochs_train 2")  # fmt: skip
    runs = plan_runs(study, tmp_path, [0])
    for name in ("whole", "swav"):
        run = runs["dots", 0, name]
        assert value_of(run, "--teacher.num_epochs_train") == "3"
        assert value_of(run, "--teacher.sampler") == "{m: 2}"
    for name in ("plain", "oracle"):
        command = runs["dots", 0, name].command()
        assert not [word for word in command if word.startswith("--teacher.")]
        assert value_of(runs["dots", 0, name], "--num_epochs_train") == "2"


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    run = plan_runs(load(tmp_path), tmp_path, [0])["dots", 0, "whole"]
    assert "--resume_training" not in run.command()
    run.experiment.mkdir(parents=True)
    (run.experiment / "pipeline.json").touch()
    assert value_of(run, "--resume_training") == "latest"


def test_the_special_wins_over_the_general(tmp_path: Path) -> None:
    """Study, data set, setting, command line: mappings are merged, as the host would forget one."""
    study = load(
        tmp_path,
        flags="--sampler {m: 1, n: {a: 1, b: 1}} --num_epochs_train 1 --x 1",
        datasets={"dots": "--sampler {n: {b: 2}} --num_epochs_train 2 --y {a: 1}"},
        settings={"whole": "--sampler {o: 3} --num_epochs_train 3 --y 3"},
    )
    run = plan_runs(study, tmp_path, [0], ["--sampler", "{n: {c: 4}}", "--x={a:", "4}"])
    (flags,) = {run["dots", 0, "whole"]}
    assert yaml.safe_load(value_of(flags, "--sampler")) == {
        "m": 1,
        "n": {"a": 1, "b": 2, "c": 4},
        "o": 3,
    }
    assert value_of(flags, "--num_epochs_train") == "3"
    assert value_of(flags, "--x") == "{a: 4}"
    assert value_of(flags, "--y") == "3"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["x"], "'x' follows no flag"),
        (["--seed", "3"], "--seed: the study sets this flag itself"),
        (["--x", "1", "--x=2"], "--x is given twice"),
        (["--x", "{a: 1"], r"(?s)--x is '\{a: 1'.*expected \{KEY: VALUE\}"),
    ],
)
def test_flags_that_cannot_be_read_are_refused(
    tmp_path: Path, extra: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_runs(load(tmp_path), tmp_path, [0], extra)


def test_equal_commands_are_one_run_whichever_study_asks(tmp_path: Path) -> None:
    """The name of a setting, the order of flags and where the data lie do not matter."""
    here = plan_runs(load(tmp_path), tmp_path, [0])
    settings = {
        "all": '--sampler "{m:  4}" --config_loss whole --num_epochs_train=2',
        "none": '--config_loss plain --num_epochs_train 2 --sampler "{m: 4}"',
        "again": '--num_epochs_train 2 --config_loss plain --sampler "{m: 4}"',
    }
    study = load(tmp_path, first="all", settings=settings, flags="absent", controls="absent")
    there = plan_runs(study, tmp_path, [0], ["--dataset_root", "elsewhere"])
    for dataset in ("dots", "blobs"):
        assert there[dataset, 0, "all"].folder == here[dataset, 0, "whole"].folder
        assert there[dataset, 0, "none"].folder == here[dataset, 0, "plain"].folder
        assert there[dataset, 0, "again"] is there[dataset, 0, "none"]


def test_runs_differ_by_flags_teacher_seed_and_data(tmp_path: Path) -> None:
    here = plan_runs(load(tmp_path), tmp_path, [0, 1])
    other = plan_runs(load(tmp_path, first="plain"), tmp_path, [0])
    folders = [run.folder for run in here.values()]
    assert len(set(folders)) == len(here)
    assert other["dots", 0, "oracle"].folder not in folders
    assert other["dots", 0, "whole"].folder not in folders  # it has no baseline there


def test_each_seed_may_draw_its_own_split_of_the_classes(tmp_path: Path) -> None:
    study = load(
        tmp_path,
        new_splits=True,
        first_seed=10,
        flags="--split_manager~APPLY~2 '{num_training_sets: 1}'",
    )
    runs = plan_runs(study, tmp_path, study.seeds(2))
    assert {(run.seed, value_of(run, "--split_manager~APPLY~2")) for run in runs.values()} == {
        (seed, f"{{num_training_sets: 1, shuffle: true, random_seed: {seed}}}") for seed in (10, 11)
    }
    assert not any(
        "shuffle" in " ".join(run.flags)
        for run in plan_runs(load(tmp_path), tmp_path, [0]).values()
    )


def test_a_study_may_have_plain_experiments_alone(tmp_path: Path) -> None:
    study = load(
        tmp_path, settings="absent", controls="absent", plain={"a": None, "b": None}, first="a"
    )
    assert all(run.plain and not run.teacher for run in plan_runs(study, tmp_path, [0]).values())


def test_a_run_s_folder_has_a_readable_name_and_says_what_it_is(tmp_path: Path) -> None:
    runs = plan_runs(load(tmp_path), tmp_path, [3])
    whole, plain = runs["dots", 3, "whole"], runs["dots", 3, "plain"]
    assert whole.folder.name.startswith("whole-")
    assert (whole.title, plain.title) == ("dots seed3 whole", "dots seed3 plain")
    description = json.loads(json.dumps(plain.description()))
    assert description["teacher"] == whole.folder.name
    assert (description["dataset"], description["seed"]) == ("dots", 3)
    assert shlex.split(description["flags"]) == list(plain.flags)
    assert whole.description()["teacher"] is None


STRANGE_PATHS = ["[2024] Holiday pics", "{raw} pics", "two  spaces", "a: b", "it's", "no", "007"]


@pytest.mark.parametrize("path", STRANGE_PATHS)
def test_paths_among_the_flags_stay_whole(path: str, tmp_path: Path) -> None:
    """From the study's file and from the command line, up to the words of run.py."""
    study = load(tmp_path, datasets={"mine": ["--config_dataset", "folders", "--labeled", path]})
    runs = plan_runs(study, tmp_path, [0], ["--dataset_root", path, f"--unlabeled={path}"])
    command = runs["mine", 0, "whole"].command()
    for flag in ("--labeled", "--dataset_root", "--unlabeled"):
        assert command[command.index(flag) + 1] == path
    found = vars(CommandLine().parse_known_args(command)[0])
    assert (found["labeled"], found["dataset_root"], found["unlabeled"]) == (path, path, path)


def test_a_value_whose_spaces_matter_stays_one_word(tmp_path: Path) -> None:
    value = "{FolderImages: {path: 'a  b'}}"
    run = plan_runs(load(tmp_path), tmp_path, [0], ["--dataset", value])["dots", 0, "whole"]
    found = vars(CommandLine().parse_known_args(run.command())[0])
    assert found["dataset"] == {"FolderImages": {"path": "a  b"}}
