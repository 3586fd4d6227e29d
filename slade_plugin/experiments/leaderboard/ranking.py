"""Group leaderboard records by protocol and rank them; differences are tested, ties stay ties.

The score is MAP@R on test, one value per run: the mean over its split schemes. Two records are
compared by a paired t-test over their common seeds with the same test classes, or by Welch's t-test
over all runs if they share fewer than two. Wilcoxon's signed-rank test is not used: with five
seeds, its smallest two-sided p is 2 / 2^5 = 0.06. P-values are corrected for all comparisons of the
list [1]. A record's rank is one more than the number of records that are significantly better.

[1] S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from slade_plugin.experiments.results.comparison import ALPHA, paired_test
from slade_plugin.experiments.results.found import SEPARATED, SPLIT_OF_SEED, first_key
from slade_plugin.experiments.results.poster import published_scores
from slade_plugin.stages.table import MAIN_METRIC

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Row:
    """A line of a list.

    Attributes:
        method: Its title.
        scores: Metric to `mean` and, with several values, `interval95` on test, percent.
        folder: Of its record; None for a published number.
        record: The record; empty for a published number.
        rank: From 1; None if nothing was tested.
        shared: Whether other rows have this rank.
        behind: Test against the first row: `difference` (percent points; above 0 only if a paired
            test leaves out runs of the first row), `interval95`, `p_value` (corrected), `test`;
            empty for the first row and for published numbers.
    """

    method: str
    scores: Mapping[str, Mapping[str, float]]
    folder: Path | None = None
    record: Record = field(default_factory=dict)
    rank: int | None = None
    shared: bool = False
    behind: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ranking:
    """Rows of one protocol, best first.

    Attributes:
        title: Data set, trunk, size of the embedding, splits.
        rows: By their mean.
        protocol: What all rows share; empty for published numbers, which are not ranked.
        comparisons: Number of tests that p-values are corrected for.
    """

    title: str
    rows: Sequence[Row]
    protocol: Mapping[str, Any]
    comparisons: int = 0


def rank_records(records: Mapping[Path, Record]) -> list[Ranking]:
    """Rank records that passed `checks.read_records`.

    Args:
        records: Folder to record.

    Returns:
        A ranking per protocol, then the published numbers of the poster.
    """
    groups: dict[str, dict[Path, Record]] = {}
    for folder, record in records.items():
        groups.setdefault(protocol_key(record), {})[folder] = record
    titles = [_title(next(iter(group.values()))) for group in groups.values()]
    rankings = []
    for (key, group), title in zip(groups.items(), titles, strict=True):
        rows, comparisons = _rank(group)
        name = title if titles.count(title) == 1 else f"{title} ({key[:6]})"
        rankings.append(Ranking(name, rows, rows[0].record["protocol"], comparisons))
    return [*sorted(rankings, key=lambda ranking: ranking.title), *_published()]


def protocol_key(record: Record) -> str:
    """Return a hash that is equal for records that may be ranked in one list."""
    protocol = copy.deepcopy(dict(record["protocol"]))
    # Without effect, since no best model of a checked record is untrained.
    protocol["evaluation"]["choice of the best epoch"].pop("untrained_model_can_be_best", None)
    content = json.dumps([protocol, record["runs"][0]["data"]["labeled"]], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def compare_records(a: Record, b: Record) -> dict[str, Any]:
    """Test the difference of two records.

    Returns:
        `difference` (a - b, percent points) and, where it can be tested, `interval95`, `p_value`
        and `test`.
    """
    of_a, of_b = _by_seed(a), _by_seed(b)
    both = [(of_a[key], of_b[key]) for key in of_a if key in of_b]
    if len(both) > 1:
        return {**paired_test(np.array(both)), "test": f"paired, {len(both)} seeds"}
    x, y = ([_score(run) for run in record["runs"]] for record in (a, b))
    found = {"difference": float(np.mean(x) - np.mean(y))}
    if min(len(x), len(y)) > 1 and max(np.ptp(x), np.ptp(y)) > 0:
        result = stats.ttest_ind(x, y, equal_var=False)
        half = result.confidence_interval().high - found["difference"]
        found |= {"interval95": float(half), "p_value": float(result.pvalue)}
        return {**found, "test": "unpaired"}
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for their number by the step-down method of Holm."""
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(np.argsort(p_values)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _rank(records: Mapping[Path, Record]) -> tuple[list[Row], int]:
    scores = {folder: _scores(record) for folder, record in records.items()}
    order = sorted(records, key=lambda folder: -scores[folder][MAIN_METRIC]["mean"])
    tests = {(a, b): compare_records(records[b], records[a]) for a, b in combinations(order, 2)}
    tested = [test for test in tests.values() if "p_value" in test]
    corrected = holm([test["p_value"] for test in tested])
    for test, p_value in zip(tested, corrected, strict=True):
        test["p_value"] = p_value
    worse = [b if test["difference"] < 0 else a for (a, b), test in tests.items() if _differs(test)]
    ranks = {folder: 1 + worse.count(folder) for folder in order}
    rows = [
        Row(
            method=records[folder]["method"],
            scores=scores[folder],
            folder=folder,
            record=records[folder],
            rank=ranks[folder],
            shared=list(ranks.values()).count(ranks[folder]) > 1,
            behind=tests.get((order[0], folder), {}),
        )
        for folder in order
    ]
    return rows, len(tested)


def _differs(test: Mapping[str, Any]) -> bool:
    return bool(test.get("p_value", 1.0) < ALPHA)


def _scores(record: Record) -> Mapping[str, Mapping[str, float]]:
    rows = record["results"]
    return next(r["metrics"] for r in rows if (r["split"], r["embedding"]) == ("test", SEPARATED))


def _score(run: Record) -> float:
    return float(np.mean([*run["scores"]["test"][SEPARATED][MAIN_METRIC].values()]))


def _by_seed(record: Record) -> dict[tuple[int, str], float]:
    """Map seed and test classes to the score of a run."""
    return {
        (run["seed"], next(iter(run["classes"].values()))["test"]["sha256"]): _score(run)
        for run in record["runs"]
        if run["seed"] is not None
    }


def _title(record: Record) -> str:
    protocol = record["protocol"]
    trunk = first_key(protocol["trunk"])
    settings = (protocol["trunk"] or {}).get(trunk) or {}
    splits = (
        "new classes for each seed" if SPLIT_OF_SEED in str(protocol["splits"]) else "one test set"
    )
    dim = next(row["dim"] for row in record["results"] if row["embedding"] == SEPARATED)
    trunk = settings.get("architecture", trunk)
    return f"{record['dataset']}, {trunk}, {f'{dim}-d, ' if dim else ''}{splits}"


def _published() -> list[Ranking]:
    """Return the rows of the poster's main table by data set; their trunks differ."""
    return [
        Ranking(
            f"{dataset}: quoted from the SLADE poster (CVPR 2021), not measured here",
            [
                Row(name, {metric: {"mean": value} for metric, value in scores.items()})
                for name, scores in sorted(
                    rows.items(), key=lambda item: -item[1].get(MAIN_METRIC, 0.0)
                )
            ],
            {},
        )
        for dataset, rows in published_scores().items()
    ]
