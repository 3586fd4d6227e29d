import csv
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.studies import execution
from slade_plugin.experiments.studies.execution import execute
from slade_plugin.experiments.studies.plan import MARKERS, plan_runs
from slade_plugin.experiments.studies.scores import read_scores, summarize
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.experiments.studies.study_page import to_markdown, write_page
from slade_plugin.stages.table import METRICS

MAP = "mean_average_precision_at_r"
STUDY = Study(
    "mine",
    {"dots": (), "blobs": ("--config_dataset", "blobs")},
    "whole",
    (
        Setting("low", ("--config_loss", "low")),
        Setting("whole", ("--config_loss", "whole"), own_teacher=True, own_baseline=True),
        Setting("plain", ("--config_loss", "plain"), control=True),
        Setting("slade_oracle", ("--config_loss", "oracle"), control=True),
    ),
    ("--num_epochs_train", "2"),
)


@pytest.fixture(autouse=True)
def _fast_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "_POLL_S", 0.005)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_page_and_the_csv(tmp_path: Path, stub_runs: Any, seeds: int) -> None:
    runs = plan_runs(STUDY, tmp_path / "runs", range(seeds))
    execute(runs.values(), jobs=2, program=stub_runs.program)
    out = tmp_path / "new" / "out"
    text = write_page(STUDY, runs, out, "the command")
    assert (out / "mine.md").read_text() == text
    assert "`the command`" in text
    assert "Not finished" not in text
    with (out / "mine.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    for dataset in STUDY.datasets:
        section = text.partition(f"## {dataset}\n")[2]
        found = read_scores(STUDY, runs, dataset)
        for split in ("val", "test"):
            table = to_markdown(summarize(found, "whole", split, MAP), STUDY)
            assert f"### MAP@R on {split}\n\n{table}" in section
        everything = {**found.rungs, **found.controls}
        for name, by_seed in everything.items():
            for seed, by_split in by_seed.items():
                for split, metrics in by_split.items():
                    where = (dataset, name, str(seed), split)
                    (line,) = (x for x in lines if tuple(list(x.values())[:4]) == where)
                    assert {m: float(line[m]) for m in METRICS} == metrics
    assert len(lines) == len(STUDY.datasets) * len(everything) * seeds * 2
    assert sorted(path.name for path in out.iterdir()) == ["mine.csv", "mine.md", "mine.png"]


def test_markdown_by_hand(tmp_path: Path, stub_runs: Any, write_plan: Callable[..., None]) -> None:
    """Seeds 0 and 1: baseline 10, 11; teacher 9, 10; low 23, 24; whole 25, 26; plain as whole;
    oracle 26, 27. Half an interval of two values is 6.353 times their distance. The control is
    longer than the others, and there is no baseline as long.
    """
    runs = plan_runs(STUDY, tmp_path / "runs", range(2))
    execute(runs.values(), program=stub_runs.program)
    for (_, _, name), run in runs.items():
        epochs = {"whole": {"teacher": 2, "student": 2, "baseline": 4}, "plain": {"student": 9}}
        write_plan(run, epochs.get(name, {"student": 2}))
    rows = summarize(read_scores(STUDY, runs, "dots"), "whole", "test", MAP)
    half = "± 6.35"
    assert to_markdown(rows, STUDY).splitlines() == [
        "| setting | MAP@R | minus baseline | relative to it | minus the row above | minus whole | "
        "of the gap to the oracle |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| baseline | 10.50 {half} |  |  |  | -15.00 ± 0.00 |  |",
        f"| teacher | 9.50 {half} | -1.00 ± 0.00 | -9.5 ± 5.8 % |  | -16.00 ± 0.00 |  |",
        f"| low | 23.50 {half} | +13.00 ± 0.00 | +124.1 ± 75.1 % | +14.00 ± 0.00 | -2.00 ± 0.00 | "
        "81.2 ± 0.0 % |",
        f"| whole | 25.50 {half} | +15.00 ± 0.00 | +143.2 ± 86.6 % | +2.00 ± 0.00 |  | "
        "93.8 ± 0.0 % |",
        "",
        "| setting | MAP@R | minus baseline | relative to it | minus whole | "
        "of the gap to the oracle |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| plain | 25.50 {half} |  |  | +0.00 ± 0.00 |  |",
        f"| slade_oracle | 26.50 {half} | +16.00 ± 0.00 | +152.7 ± 92.4 % | +1.00 ± 0.00 | "
        "100.0 ± 0.0 % |",
    ]


def test_the_page_says_what_each_setting_is(tmp_path: Path, stub_runs: Any) -> None:
    """Before the scores; a setting that is not finished has no commit. The header has none."""
    stub_runs.behave(plain=1)
    runs = plan_runs(STUDY, tmp_path / "runs", [0, 2])
    execute(runs.values(), jobs=2, program=stub_runs.program)
    text = write_page(STUDY, runs, tmp_path, "c")
    head, _, rest = text.partition("## Settings\n\n")
    assert (
        "slade-plugin: 9.9; Python: 3.1; torch: 1.2.3; threads a run: 1; machine: 2 cores" in head
    )
    assert rest.partition("\n\n## dots\n")[0].splitlines() == [
        "| setting | flags of run.py | commit |",
        "| --- | --- | --- |",
        "| low | `--num_epochs_train 2 --config_loss low` | commit0, commit2 |",
        "| whole | `--num_epochs_train 2 --config_loss whole` | commit0, commit2 |",
        "| plain | `--num_epochs_train 2 --config_loss plain` |  |",
        "| slade_oracle | `--num_epochs_train 2 --config_loss oracle` | commit0, commit2 |",
    ]


def test_the_page_holds_the_cost_of_each_stage(tmp_path: Path, stub_runs: Any) -> None:
    runs = plan_runs(STUDY, tmp_path / "runs", range(2))
    execute(runs.values(), jobs=2, program=stub_runs.program)
    text = write_page(STUDY, runs, tmp_path, "c")
    assert text.count("### Cost\n") == 2
    assert "| whole | 30 (34%) | 60 (66%) | 91 |" in text  # 30.5, 60.5, 91
    assert "| low | 30 (34%) | 60 (66%) | 91 |" in text.partition("## blobs")[2]


def test_the_page_holds_the_pseudo_labels_of_the_settings_that_have_some(
    tmp_path: Path, stub_runs: Any
) -> None:
    runs = plan_runs(STUDY, tmp_path / "runs", [0])
    execute(runs.values(), jobs=2, program=stub_runs.program)
    labels = runs["dots", 0, "low"].experiment / "pseudo_labels"
    labels.mkdir()
    (labels / "s0.json").write_text('{"agreement": {"NMI": 0.5, "purity": 0.25}}')
    text = write_page(STUDY, runs, tmp_path, "c")
    assert text.count("### Pseudo labels\n") == 1
    assert "| low | pseudo_labels | 50.0 | 25.0 |\n\n### Cost" in text


def test_the_selected_pairs_have_a_table_and_a_figure(tmp_path: Path, stub_runs: Any) -> None:
    """Of the settings that have records; the oracle's are not drawn."""
    runs = plan_runs(STUDY, tmp_path / "runs", [0])
    execute(runs.values(), jobs=2, program=stub_runs.program)
    for name in ("whole", "low", "slade_oracle"):
        folder = runs["dots", 0, name].experiment
        record_pairs(folder / "student" / "s0" / "saved_csvs")
        (folder / "pipeline.json").write_text('{"plan": {"student": {}}, "environment": []}')
    text = write_page(STUDY, runs, tmp_path, "c")
    dots, _, blobs = text.partition("## blobs")
    assert "Selected pairs" not in blobs
    table = dots.partition("### Selected pairs\n\n")[2].splitlines()
    assert table[2:] == [
        "| setting | precision of P | pairs in P |",
        "| --- | --- | --- |",
        "| low | - / 50.0 / 25.0 | 0.0 / 5.0 / 9.0 |",
        "| whole | - / 50.0 / 25.0 | 0.0 / 5.0 / 9.0 |",
        "| slade_oracle | - / 50.0 / 25.0 | 0.0 / 5.0 / 9.0 |",
        "",
        "### Cost",
        *table[9:],
    ]
    assert "Of several rounds" not in text
    low = runs["dots", 0, "low"].experiment
    record_pairs(low / "round2" / "student" / "s0" / "saved_csvs")
    plan = {"student": {}, "round2/student": {}}
    (low / "pipeline.json").write_text(json.dumps({"plan": plan, "environment": []}))
    last = " Of several rounds, those of the last one's student.\n\n| setting | precision of P |"
    assert last in write_page(STUDY, runs, tmp_path, "c")
    assert "![mine](mine.png)" in text
    assert "![mine_pairs](mine_pairs.png)" in text
    for name in ("mine", "mine_pairs"):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.format == "PNG"


def record_pairs(folder: Path) -> None:
    """20 steps: nothing mined, 5 pairs, 9 pairs."""
    folder.mkdir(parents=True)
    steps = [(None, 0)] * 9 + [(0.5, 5)] * 2 + [(0.25, 9)] * 9
    with closing(sqlite3.connect(folder / "logs.db")) as database:
        table = "unlabeled_tuple_miner_BasisSimilarityMiner"
        database.execute(f"CREATE TABLE {table} (id INTEGER, positive_precision, num_pos_pairs)")
        rows = [(i, *step) for i, step in enumerate(steps)]
        database.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)
        database.commit()


def test_without_a_baseline_nothing_is_compared_with_it(tmp_path: Path, stub_runs: Any) -> None:
    first = Setting("whole", ("--config_loss", "whole"), own_teacher=True)
    study = Study("mine", {"dots": ()}, "whole", (first,))
    runs = plan_runs(study, tmp_path / "runs", [0])
    execute(runs.values(), program=stub_runs.program)
    text = write_page(study, runs, tmp_path, "c")
    assert "| setting | MAP@R | minus the row above |" in text
    assert "minus baseline" not in text


def test_the_poster_s_numbers_have_a_table(
    tmp_path: Path,
    stub_runs: Any,
    make_experiment: Callable[..., Path],
    write_plan: Callable[..., None],
) -> None:
    first = Setting("whole", ("--config_loss", "whole"), own_teacher=True)
    study = Study(
        "mine", {"dots": ()}, "whole", (first,), ablation=3, poster={"whole": "SD"}
    )  # fmt: skip
    runs = plan_runs(study, tmp_path / "runs", [0])
    execute(runs.values(), program=stub_runs.program)
    (run,) = runs.values()
    (run.folder / MARKERS["test"]).touch()
    write_plan(run, {"teacher": 1, "student": 1})
    make_experiment(
        run.experiment / "student", {"test": (9, 9)}, {"test": 34}, seed=0,
        dataset={"CUB200Files": {}}, models={"embedder": {"MLP": {"layer_sizes": [256]}}},
    )  # fmt: skip
    text = write_page(study, runs, tmp_path, "c")
    section = text.partition("### Comparison with the poster\n\n")[2]
    row = [cell.strip() for cell in section.splitlines()[2].split("|")]
    assert row[2:10] == [
        *("whole = SD", "test", "concatenated 512-d", "1 x 2"),
        *("34.00", "33.59", "+0.41", "44.00"),
    ]


def test_what_is_not_finished_is_left_out_and_named(tmp_path: Path, stub_runs: Any) -> None:
    stub_runs.behave(low=1, plain=1)
    runs = plan_runs(STUDY, tmp_path / "runs", [0])
    execute((run for run in runs.values() if run.dataset == "dots"), program=stub_runs.program)
    text = write_page(STUDY, runs, tmp_path, "c")
    dots, _, blobs = text.partition("## blobs")
    assert "Not finished and left out: low, plain." in dots
    assert "| low |" not in dots.partition("## dots")[2]
    assert "| whole | 25.00 |" in dots
    assert "Not finished and left out: low, whole, plain, slade_oracle." in blobs
    assert "|" not in blobs


def test_a_page_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="study mine has no setting with all seeds finished"):
        write_page(STUDY, plan_runs(STUDY, tmp_path, [0]), tmp_path, "c")
    assert not (tmp_path / "mine.md").exists()
