"""Each command that takes an experiment, on each kind of experiment.

One's own images matter here: config_general/folders writes `pseudo_labels` into every experiment,
so no command may take that key for a student.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

DATASETS = ("glyphs", pytest.param("folders", marks=pytest.mark.long), "folders_small")
STUDENTS = ("slade_seed0/student", "slade_seed0/round2/student")
KINDS = ("plain", "slade_seed0/teacher", *STUDENTS, "slade_seed0/baseline")


def write_images(folder: Path) -> None:
    """`photos`: 16 classes of 4 images; `pool`: 48 images of other colors."""
    rng = np.random.default_rng(0)
    for number in range(112):
        labeled = number < 64
        place = f"photos/kind{number // 4:02}" if labeled else "pool"
        (folder / place).mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 40, (12, 12, 3)) + 53 * (number // 4) % 200
        Image.fromarray(noise.astype(np.uint8)).save(folder / place / f"{number}.png")


class Runs:
    """A plain experiment and a run of two rounds on one data set."""

    def __init__(self, bench: Any, folder: Path, dataset: str) -> None:
        self.folder = folder
        self.bench = bench if dataset == "glyphs" else bench.on(folder)
        plain, student = bench.tiny(), bench.tiny_student()
        own: list[str] = []
        pool: list[str] = []
        if dataset != "glyphs":
            write_images(folder)
            student = bench.tiny_photographs() + f"--config_dataset {dataset}"
            plain = student.split(" --loss_funcs")[0].replace("--config_loss slade ", "")
            plain += (
                " --num_epochs_train 1 --save_interval 1 --trainer~APPLY~2 {iterations_per_epoch: "
                "2, batch_size: 8, dataloader_num_workers: 0} --sampler~APPLY~2 "
                "{length_before_new_iter: 16} --tester~APPLY~2 {dataloader_num_workers: 0} "
                f"--config_dataset {dataset}"
            )
            own = ["--labeled", str(folder / "photos")]
            pool = ["--unlabeled", str(folder / "pool")]
        commands = [
            ["--config_loss contrastive --experiment_name plain", plain, *own],
            [f"{student} --experiment_name slade_seed0 --rounds 2", *own, *pool],
        ]
        for flags in commands:
            outcome = self(*flags)
            assert outcome.code == 0, outcome.err

    def __call__(self, *flags: str) -> Any:
        return self.bench(*flags, root=self.folder)

    def command(self, *words: str | Path, data: bool = True) -> Any:
        own: Sequence[str] = ["--dataset_root", str(self.bench.dataset_root)] if data else []
        return self.bench.run_words([*map(str, words), *own])


@pytest.fixture(scope="module", params=DATASETS)
def runs(
    request: pytest.FixtureRequest, bench: Any, tmp_path_factory: pytest.TempPathFactory
) -> Runs:
    """Evaluated on test and as ensembles by the tests below, otherwise left alone."""
    return Runs(bench, tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_ensemble_and_record(runs: Runs, kind: str, tmp_path: Path) -> None:
    for how in ("--evaluate", "--evaluate_ensemble"):
        outcome = runs(f"--experiment_name {kind} {how} --splits_to_eval [val, test]")
        assert outcome.code == 0, outcome.err
    folder = tmp_path / "record"
    outcome = runs.command("record", runs.folder / kind, folder)
    assert outcome.code == 0, outcome.err
    record = json.loads((folder / "record.json").read_text())
    (run,) = record["runs"]
    students = STUDENTS.index(kind) + 1 if kind in STUDENTS else 0
    assert len(run["reproduce"]) == 2 * (1 + students) + students  # each clusters before it trains
    labels = folder / "experiments" / "seed0" / "pseudo_labels.json"
    assert labels.exists() is (kind in STUDENTS)
    outcome = runs.command("verify-record", folder, "--against", runs.folder / kind, data=False)
    assert outcome.code == 0, outcome.out


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", STUDENTS[1]])
def test_a_record_repeats_an_experiment(
    runs: Runs, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--reproduce_results`, by the record's own commands: the teacher first, then each round."""
    assert runs(f"--experiment_name {kind} --evaluate --splits_to_eval [test]").code == 0
    record = tmp_path / "record"
    assert runs.command("record", runs.folder / kind, record).code == 0
    monkeypatch.chdir(tmp_path)
    for command in json.loads((record / "record.json").read_text())["runs"][0]["reproduce"]:
        words = command.removeprefix("python run.py ").replace("<RECORD>", str(record))
        outcome = runs.bench(words.replace("<NAME>", "again"), root=Path("experiments"))
        assert outcome.code == 0, outcome.err
    again = Path("experiments/again_seed0") / kind.removeprefix("plain").removeprefix(
        "slade_seed0/"
    )
    outcome = runs.command("verify-record", record, "--against", again, data=False)
    assert outcome.code == 0, outcome.out


def test_results_and_compare(runs: Runs) -> None:
    outcome = runs.command("results", runs.folder, "--split", "val", data=False)
    assert outcome.code == 0, outcome.err
    assert outcome.out.count(" separated ") == len(KINDS)
    assert outcome.err == ""
    for kind in KINDS:
        other = runs.folder / ("plain" if kind in STUDENTS else STUDENTS[0])
        outcome = runs.command("compare", runs.folder / kind, other, data=False)
        assert outcome.code == 0, outcome.err


@pytest.mark.parametrize("kind", KINDS)
def test_report_and_pairs(runs: Runs, kind: str, tmp_path: Path) -> None:
    """Pairs of a pool need a student and, for what they count, the true labels of the pool."""
    page = tmp_path / "page.html"
    words = ["--queries", "1", "--top", "1", "--embeddings", "none", "--out", page]
    outcome = runs.command("report", runs.folder / kind, *words)
    assert outcome.code == 0, outcome.err
    assert page.stat().st_size > 0
    outcome = runs.command("pairs", runs.folder / kind, "--batches", "1")
    known = runs.folder.name.startswith("glyphs") and kind in STUDENTS
    assert outcome.code == (0 if known else 2), outcome.err
    if kind not in STUDENTS:
        assert "is not a student" in outcome.err
