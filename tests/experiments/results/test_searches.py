import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.results.found import (
    find_experiments,
    find_searches,
    group_experiments,
    read_method,
)
from slade_plugin.experiments.results.searches import (
    count_trials,
    describe_search,
    is_search,
    tuned_experiments,
)

Make = Callable[..., Path]


@pytest.fixture
def search(make_experiment: Make, tmp_path: Path) -> Path:
    """Trials tuned0, tuned1 and tuned10 of one seed; tuned1 is the best and is repeated twice."""
    folder = tmp_path / "tuned"
    make_experiment(folder, {}, loss="contrastive_search")  # configs alone
    trials = {  # seed, searched margin
        "0": (4, 0.5), "1": (4, 1), "10": (4, 2), "1_reproduction0": (104, 1),
        "1_reproduction1": (204, 1),
    }  # fmt: skip
    for suffix, (seed, margin) in trials.items():
        make_experiment(
            folder / f"tuned{suffix}", {"val": (10, 12), "test": (20, 22)}, seed=seed,
            loss="contrastive_search",
            loss_funcs={"metric_loss": {"ContrastiveLoss": {"neg_margin": margin}}},
        )  # fmt: skip
        if "reproduction" not in suffix:
            (folder / f"tuned{suffix}" / "bayes_opt_parameters.yaml").touch()
    (folder / "search.json").write_text("{}")
    (folder / "best_parameters.yaml").write_text(
        yaml.safe_dump({"best_sub_experiment_name": "tuned1"})
    )
    return folder


def names(folders: list[Path]) -> list[str]:
    return [folder.name for folder in folders]


def test_the_best_trial_and_its_repetitions_are_one_method(search: Path) -> None:
    """Not the search itself, nor a trial that another's name begins with."""
    kept = ["tuned1", "tuned1_reproduction0", "tuned1_reproduction1"]
    assert names(tuned_experiments(search)) == kept
    for given in (search, search.parent):
        groups, notes = group_experiments(find_experiments([given]))
        (group,) = groups
        assert names([e.folder for e in group.experiments]) == kept
        assert [e.seed for e in group.experiments] == [4, 104, 204]
        assert notes == []
        assert find_searches([given]) == [search]
    assert "its best trial tuned1" in describe_search(search)


def test_a_trial_that_is_named_counts(search: Path) -> None:
    found = find_experiments([search / "tuned0", search])
    assert "tuned0" in names([e.folder for e in found])
    assert len(found) == 4


def test_a_search_of_the_host_s_own_is_known(search: Path) -> None:
    (search / "search.json").unlink()
    assert not is_search(search)
    (search / "bayes_opt_ax_logs").mkdir()
    assert is_search(search)


def test_repetitions_are_no_trials(search: Path) -> None:
    assert count_trials(search) == 3
    assert count_trials(search / "tuned1") == 0
    assert count_trials(search.rename(search.with_name("renamed"))) == 3


def test_an_unfinished_search_has_nothing_to_show(search: Path, make_experiment: Make) -> None:
    (search / "best_parameters.yaml").unlink()
    assert tuned_experiments(search) == []
    assert "unfinished search" in describe_search(search)
    with pytest.raises(ExperimentError, match="tuned is an unfinished search"):
        find_experiments([search])
    make_experiment(search.parent / "other", {"val": (10, 12)})
    assert names([e.folder for e in find_experiments([search.parent])]) == ["other"]


def test_the_teacher_that_trials_share_counts(tmp_path: Path, finished: Path) -> None:
    """Also where the search was moved; without the other stages of its trial."""
    search = tmp_path / "tuned"
    for trial in ("tuned0", "tuned3"):
        shutil.copytree(finished, search / trial)
    shutil.rmtree(search / "tuned3" / "teacher")
    state: Any = json.loads((search / "tuned3" / "pipeline.json").read_text())
    state["teacher_experiment"] = "/elsewhere/tuned/tuned0/teacher"
    (search / "tuned3" / "pipeline.json").write_text(json.dumps(state))
    (search / "search.json").write_text("{}")
    (search / "best_parameters.yaml").write_text("best_sub_experiment_name: tuned3")
    found = [e.folder.relative_to(search).as_posix() for e in find_experiments([search])]
    assert sorted(found) == ["tuned0/teacher", "tuned3/baseline", "tuned3/student"]


def test_a_search_with_brackets_in_its_name(search: Path) -> None:
    """Its name, and so that of its trials, is no pattern."""
    place = search.with_name("[try] one")
    search.rename(place)
    for folder in [path for path in place.iterdir() if path.is_dir()]:
        folder.rename(place / folder.name.replace("tuned", "[try] one"))
    best = {"best_sub_experiment_name": "[try] one1"}
    (place / "best_parameters.yaml").write_text(yaml.safe_dump(best))
    kept = ["[try] one1", "[try] one1_reproduction0", "[try] one1_reproduction1"]
    assert names(tuned_experiments(place)) == kept
    assert [e.folder.name for e in read_method(str(place / kept[0])).experiments] == kept[:1]
