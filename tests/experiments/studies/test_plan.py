import json
import shlex
from pathlib import Path

import pytest
import yaml

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.composition import config_root
from slade_plugin.experiments.results.poster import ablation_settings, poster_rows
from slade_plugin.experiments.studies.config_check import read_stages
from slade_plugin.experiments.studies.plan import MARKERS, plan_runs
from slade_plugin.experiments.studies.study_file import read_study
from slade_plugin.stages.kinds import PLAIN
from tests.study_files import load_study, value_of

SHIPPED = sorted((config_root() / "studies").glob("*.yaml"))


def test_shipped_studies_share_the_runs_of_slade(tmp_path: Path) -> None:
    """Compute is short: a teacher that one study has trained is not trained by the next."""
    found: dict[Path, set[str]] = {}
    for study in map(read_study, SHIPPED):
        if "glyphs" in study.datasets and not study.poster and not study.new_splits:
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
    table = read_study(config_root() / "studies" / "main_table.yaml").selected([dataset])
    of_table = plan_runs(table, tmp_path, [0])
    studies = [read_study(path) for path in SHIPPED if path.stem.startswith("ablation_")]
    assert [study.ablation for study in studies] == [1, 2, 3, 4]
    for study in studies:
        runs = plan_runs(study.selected([dataset]), tmp_path, [0])
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
    study = read_study(config_root() / "studies" / f"{name}.yaml").selected([dataset])
    assert {*study.poster.values()} == {*poster_rows()} - {"Proxy-Anchor (1)"}
    for (_, _, setting), run in plan_runs(study, tmp_path, [0]).items():
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
    study = read_study(config_root() / "studies" / "main_table.yaml")
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
    study = read_study(config_root() / "studies" / "main_table.yaml").selected(["cub200_nabirds"])
    runs = plan_runs(study, tmp_path, [0])
    for name in ("proxy_nca_plus_plus", "mutual_info"):
        args = read_stages(runs["cub200_nabirds", 0, name])[PLAIN]
        (loss,) = args.loss_funcs["metric_loss"].values()
        assert loss["embedding_size"] == 2048
    assert args.models["embedder"] == {"Identity": {}}
    assert "embedder_optimizer" not in args.optimizers


def test_a_run_that_is_evaluated_is_finished_after_that(tmp_path: Path) -> None:
    study = read_study(config_root() / "studies" / "main_table_glyphs.yaml")
    run = plan_runs(study, tmp_path, [0])["glyphs", 0, "S1"]
    run.table.parent.mkdir(parents=True)
    run.table.touch()
    assert not run.finished
    (run.folder / MARKERS["test"]).touch()
    assert run.finished


def test_runs_of_the_ladder_are_found_again(tmp_path: Path) -> None:
    """Hours of computing lie under these names: another one must be meant."""
    study = read_study(config_root() / "studies" / "ladder.yaml")
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


def test_a_setting_may_be_compared_with_the_baseline_of_another(tmp_path: Path) -> None:
    """Which is no other command: its run is the same as without a baseline."""
    settings = {
        "whole": "--a 1",
        "longer": {"flags": "--a 2", "baseline": True},
        "low": {"flags": "--a 3", "baseline": "longer"},
    }
    study = load_study(tmp_path, settings=settings, controls={"c": {"baseline": "whole"}})
    assert [(s.own_baseline, s.baseline_of) for s in study.settings] == [
        *((True, ""), (True, ""), (False, "longer"), (False, "whole")),
    ]
    without = load_study(tmp_path, settings={**settings, "low": "--a 3"}, controls="absent")
    run = plan_runs(study, tmp_path, [0])["dots", 0, "low"]
    assert run == plan_runs(without, tmp_path, [0])["dots", 0, "low"]


def test_seeds_are_finished_one_by_one_and_first_goes_before_those_that_take_its_teacher(
    tmp_path: Path,
) -> None:
    keys = list(plan_runs(load_study(tmp_path), tmp_path, [0, 1]))
    assert keys == [
        (dataset, seed, setting)
        for seed in (0, 1)
        for dataset in ("dots", "blobs")
        for setting in ("whole", "plain", "swav", "oracle")
    ]


def test_commands(tmp_path: Path) -> None:
    runs = plan_runs(
        load_study(tmp_path), tmp_path, [4], ["--dataset_root", "/data", "--x={a:", "b}"]
    )
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
    runs = plan_runs(load_study(tmp_path, settings=settings), tmp_path, [0])
    assert value_of(runs["dots", 0, "a"], "--pipeline") == "{teacher: {config_loss: triplet}}"
    assert yaml.safe_load(value_of(runs["dots", 0, "b"], "--pipeline")) == {
        "teacher": {"config_loss": "triplet"},
        "baseline": False,
    }
    broken = load_study(tmp_path, settings={**settings, "c": "--pipeline yes"})
    with pytest.raises(ConfigError, match=r"c: --pipeline is yes; expected \{KEY: VALUE\}"):
        plan_runs(broken, tmp_path, [0])


def test_a_setting_of_a_given_teacher_may_have_a_baseline(tmp_path: Path) -> None:
    """Which is as long as that teacher and its own students."""
    settings = {"whole": "", "more": {"flags": "--config_loss whole --rounds 2", "baseline": True}}
    runs = plan_runs(load_study(tmp_path, settings=settings), tmp_path, [0])
    command = runs["dots", 0, "more"].command()
    assert "--teacher_experiment" in command
    assert "--pipeline" not in command


def test_flags_for_the_teacher_reach_the_run_that_trains_it(tmp_path: Path) -> None:
    """Those of the data set and the study."""
    study = load_study(tmp_path, datasets={"dots": "--teacher.sampler {m: 2}"},
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


def test_a_setting_has_no_flags_for_the_teacher_of_another_one(tmp_path: Path) -> None:
    """run.py would refuse them, after the runs before it."""
    controls = {"oracle": "--config_loss oracle --teacher.sampler {m: 2}"}
    with pytest.raises(ConfigError, match=r"oracle has --teacher\.sampler, but .*teacher: own"):
        plan_runs(load_study(tmp_path, controls=controls), tmp_path, [0])


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    run = plan_runs(load_study(tmp_path), tmp_path, [0])["dots", 0, "whole"]
    assert "--resume_training" not in run.command()
    run.experiment.mkdir(parents=True)
    (run.experiment / "pipeline.json").touch()
    assert value_of(run, "--resume_training") == "latest"


def test_equal_commands_are_one_run_whichever_study_asks(tmp_path: Path) -> None:
    """The name of a setting, the order of flags and where the data lie do not matter."""
    here = plan_runs(load_study(tmp_path), tmp_path, [0])
    settings = {
        "all": '--sampler "{m:  4}" --config_loss whole --num_epochs_train=2',
        "none": '--config_loss plain --num_epochs_train 2 --sampler "{m: 4}"',
        "again": '--num_epochs_train 2 --config_loss plain --sampler "{m: 4}"',
    }
    study = load_study(tmp_path, first="all", settings=settings, flags="absent", controls="absent")
    there = plan_runs(study, tmp_path, [0], ["--dataset_root", "elsewhere"])
    for dataset in ("dots", "blobs"):
        assert there[dataset, 0, "all"].folder == here[dataset, 0, "whole"].folder
        assert there[dataset, 0, "none"].folder == here[dataset, 0, "plain"].folder
        assert there[dataset, 0, "again"] is there[dataset, 0, "none"]


def test_runs_differ_by_flags_teacher_seed_and_data(tmp_path: Path) -> None:
    here = plan_runs(load_study(tmp_path), tmp_path, [0, 1])
    other = plan_runs(load_study(tmp_path, first="plain"), tmp_path, [0])
    folders = [run.folder for run in here.values()]
    assert len(set(folders)) == len(here)
    assert other["dots", 0, "oracle"].folder not in folders
    assert other["dots", 0, "whole"].folder not in folders  # it has no baseline there


def test_each_seed_may_draw_its_own_split_of_the_classes(tmp_path: Path) -> None:
    study = load_study(
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
        for run in plan_runs(load_study(tmp_path), tmp_path, [0]).values()
    )


def test_a_study_may_have_plain_experiments_alone(tmp_path: Path) -> None:
    study = load_study(
        tmp_path, settings="absent", controls="absent", plain={"a": None, "b": None}, first="a"
    )
    assert all(run.plain and not run.teacher for run in plan_runs(study, tmp_path, [0]).values())


def test_a_run_s_folder_has_a_readable_name_and_says_what_it_is(tmp_path: Path) -> None:
    runs = plan_runs(load_study(tmp_path), tmp_path, [3])
    whole, plain = runs["dots", 3, "whole"], runs["dots", 3, "plain"]
    assert whole.folder.name.startswith("whole-")
    assert (whole.title, plain.title) == ("dots seed3 whole", "dots seed3 plain")
    description = json.loads(json.dumps(plain.description()))
    assert description["teacher"] == whole.folder.name
    assert (description["dataset"], description["seed"]) == ("dots", 3)
    assert shlex.split(description["flags"]) == list(plain.flags)
    assert whole.description()["teacher"] is None
