"""Find the experiments of a hyperparameter search that are runs of one method.

The trials of a search differ in the searched values; the best one and its repetitions differ only
in their seeds.
"""

import glob
from pathlib import Path

import yaml

from slade_plugin.config.experiment_folder import is_pipeline_folder, read_state
from slade_plugin.stages.kinds import TEACHER

SEARCH_FILE = "search.json"
_MARKS = (SEARCH_FILE, "bayes_opt_ax_logs")  # of ours, and of the host's own
_BEST = "best_parameters.yaml"
_TRIAL = "bayes_opt_parameters.yaml"  # of each trial, not of a repetition


def is_search(folder: Path) -> bool:
    """Return whether a folder is that of a search."""
    return any((folder / mark).exists() for mark in _MARKS)


def tuned_experiments(search: Path) -> list[Path]:
    """Return the best trial, its repetitions, and the teacher if all trials share it.

    Args:
        search: Folder of a search.

    Returns:
        Folders of experiments and pipelines; empty if the search has not chosen its best trial yet.
    """
    if not (search / _BEST).is_file():
        return []
    best = yaml.safe_load((search / _BEST).read_text(encoding="utf-8"))["best_sub_experiment_name"]
    found = [search / best, *sorted(search.glob(f"{glob.escape(best)}_reproduction*"))]
    if is_pipeline_folder(search / best) and not (search / best / TEACHER).exists():
        given = Path(read_state(search / best)["teacher_experiment"])
        found.append(search / given.parent.name / given.name)  # also if everything was moved
    return [folder for folder in found if folder.is_dir()]


def count_trials(search: Path) -> int:
    """Return the number of finished trials of a search; 0 for any other folder."""
    return len([*search.glob(f"*/{_TRIAL}")]) if is_search(search) else 0


def describe_search(search: Path) -> str:
    """Describe which trials of a search are shown."""
    tuned = tuned_experiments(search)
    if not tuned:
        return f"{search} is an unfinished search and not shown"
    return (
        f"{search} is a search; only its best trial {tuned[0].name} and the repetitions of it are "
        "shown. To show another trial, give its folder"
    )
