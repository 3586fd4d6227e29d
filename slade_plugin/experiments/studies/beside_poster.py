"""The scores of an ablation of the poster beside its numbers, which are of concatenated models."""

from collections.abc import Mapping
from typing import Any

from slade_plugin.experiments.results.found import CONCATENATED, Group, read_saved
from slade_plugin.experiments.results.poster import published_ablation
from slade_plugin.experiments.results.summary import put_beside, summarise
from slade_plugin.experiments.studies.plan import Run, Study
from slade_plugin.stages.kinds import STUDENT, TEACHER


def beside_poster(
    study: Study, runs: Mapping[tuple[str, int, str], Run], dataset: str
) -> list[dict[str, Any]]:
    """The concatenated scores on test of the poster's settings.

    Args:
        study: With `poster`.
        runs: Of the settings that are finished.
        dataset: Name.

    Returns:
        Rows as those of `results.summary.summarise`, in the order of `poster`. A number that the
        ablation does not give is that of the poster's main table, if the row is in it.
    """
    rows = []
    for name, theirs in study.poster.items():
        stage, setting = (TEACHER, study.first) if name == TEACHER else (STUDENT, name)
        experiments = [
            read_saved(run.experiment / stage, stage)
            for (of_dataset, _, of_setting), run in runs.items()
            if (of_dataset, of_setting) == (dataset, setting)
        ]
        groups = [Group(name, experiments)] if experiments else []
        for row in summarise(groups, ["test"]):
            if row["embedding"] == CONCATENATED:
                rows.append(row | {"poster_row": theirs})
                for metric, numbers in row["metrics"].items():
                    number = published_ablation(
                        study.ablation, theirs, row["dataset"], metric, row["dim"]
                    )
                    if number is not None:
                        put_beside(numbers, number)
    return rows
