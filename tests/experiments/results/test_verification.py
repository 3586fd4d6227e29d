import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import ExperimentError
from slade_plugin.base.files import sha256_of_file, write_manifest
from slade_plugin.experiments.results.found import read_method
from slade_plugin.experiments.results.record import write_record
from slade_plugin.experiments.results.verification import compare_runs, read_record, verify_record

Make = Callable[..., Path]
DATASET = {"Glyphs": {"letters_per_script": 8, "instances_per_face": 1}}


@pytest.fixture(scope="module")
def written(
    make_experiment: Make, bench: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The runs of a method and its record. Read only."""
    root = tmp_path_factory.mktemp("written")
    for seed in (0, 1):
        scores = {"val": (10 + seed, 12), "test": (20, 22 + seed)}
        folder = make_experiment(
            root / f"s{seed}", scores, {"test": 30}, seed=seed, dataset=DATASET
        )
        environment = {"command": [], "packages": {}, "python": "3", "slade_plugin": "0"}
        (folder / "environment.json").write_text(json.dumps([environment]))
    write_record(read_method(str(root / "s*")), root / "record", bench.dataset_root)
    return root, root / "record"


@pytest.fixture
def record_folder(written: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(written[1], tmp_path / "record"))


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """Changes a record as someone would who also mends its hash."""
    record = json.loads((folder / "record.json").read_text())
    edit(record)
    del record["manifest_sha256"]
    write_manifest(folder / "record.json", record)


def problems(folder: Path) -> dict[str, list[str]]:
    return {name: found for name, found in verify_record(folder) if found}


def test_a_whole_record_passes(written: tuple[Path, Path]) -> None:
    checks = verify_record(written[1])
    assert len(checks) == 6
    assert problems(written[1]) == {}


def test_a_changed_score_is_found(record_folder: Path) -> None:
    path = record_folder / "record.json"
    path.write_text(path.read_text().replace("22.0", "23.0"))
    assert "record.json is unchanged" in problems(record_folder)


def test_numbers_that_do_not_follow_are_found(record_folder: Path) -> None:
    def better(record: dict[str, Any]) -> None:
        record["results"][-2]["metrics"]["r_precision"]["mean"] += 1
        del record["results"][-2]["metrics"]["r_precision"]["interval95"]

    change(record_folder, better)
    found = problems(record_folder)
    assert sorted(found) == [
        "means and errors follow from the scores",
        "results.csv agrees with the record",
    ]
    wrong = found["means and errors follow from the scores"]
    assert [text.partition(" is ")[0] for text in wrong] == [
        "test separated r_precision: mean",
        "test separated r_precision: interval95",
    ]


def test_files_are_compared(record_folder: Path) -> None:
    configs = record_folder / "experiments" / "seed0" / "configs"
    (configs / "config_all.yaml").write_text("seed: 0\n")
    (configs / "config_foldernames.yaml").unlink()
    (configs / "more.yaml").write_text("")
    found = problems(record_folder)
    place = "experiments/seed0/configs"
    assert found["files are whole"] == [
        f"{place}/config_foldernames.yaml is missing",
        f"{place}/more.yaml is not on record",
        f"{place}/config_all.yaml has changed",
    ]


def test_configs_of_another_run_are_found(record_folder: Path) -> None:
    """Even if their hashes were mended."""
    name = "experiments/seed0/configs/config_all.yaml"
    shutil.copy(record_folder / name.replace("seed0", "seed1"), record_folder / name)
    digest = sha256_of_file(record_folder / name)
    change(record_folder, lambda record: record["files"].update({name: digest}))
    ((text,),) = problems(record_folder).values()
    assert text == "experiments/seed0/configs: seed is 1; on record 0"


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("test_size: 0.5", "test_size: 0.4", "protocol/splits/split_manager"),
        ("neg_margin: 1", "neg_margin: 2", "are of another method than those before"),
    ],
)
def test_a_protocol_or_method_that_does_not_follow_is_found(
    old: str, new: str, where: str, record_folder: Path
) -> None:
    path = record_folder / "experiments" / "seed1" / "configs" / "config_all.yaml"
    path.write_text(path.read_text().replace(old, new))
    assert any(where in text for text in problems(record_folder)["configs are those of the runs"])


def test_another_form_is_named_by_its_place(record_folder: Path) -> None:
    change(record_folder, lambda record: record["runs"][0].update(seed="zero"))
    ((_, texts),) = verify_record(record_folder)
    assert texts[0].startswith("runs/0/seed: 'zero' is not of type")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_no_record_is_an_error(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "record.json").write_text(content)
    with pytest.raises(ExperimentError, match=r"record\.json.*expected"):
        verify_record(tmp_path)


# ---- a second run -------------------------------------------------------------------------------


def test_a_second_run_is_compared_score_by_score(
    written: tuple[Path, Path], make_experiment: Make, tmp_path: Path
) -> None:
    """The ensemble was not evaluated again, which is no fault; seed 1 is missing."""
    root, folder = written
    record = read_record(folder)
    ((_, same), (_, also)) = compare_runs(record, read_method(str(root / "s*")))
    assert (same, also) == ([], [])
    make_experiment(tmp_path / "again", {"test": (20, 22.5)}, seed=0, dataset=DATASET)
    again = read_method(str(tmp_path / "again"))
    (name, wrong), (_, missing) = compare_runs(record, again)
    assert "6 scores" in name
    assert len(wrong) == 3
    assert all(text.startswith("test/separated/") and "Partitions4_1" in text for text in wrong)
    assert missing == ["there is no second run with this seed"]
    assert compare_runs(record, again, tolerance=0.51)[0][1] == []
