"""Test whether two methods differ, with a paired t-test, unless their protocols differ."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats
from tabulate import tabulate

from slade_plugin.base.errors import ExperimentError
from slade_plugin.experiments.results.found import (
    CONCATENATED,
    SEPARATED,
    SPLIT_OF_SEED,
    SPLITS,
    Experiment,
    Group,
)
from slade_plugin.experiments.results.protocol import other_differences, protocol_differences
from slade_plugin.stages.table import MAIN_METRIC, mean_and_interval, metric_titles, with_interval

ALPHA = 0.05
_ROUNDING = 1e-9  # percent

Pairs = list[tuple[Experiment, Experiment]]


def compare(a: Group, b: Group) -> dict[str, Any]:
    """Compare two methods.

    Runs are paired by seed; with one run each, models are paired by split scheme. The verdict rests
    only on MAP@R on test of the separate models, so that nothing is picked afterwards.

    Args:
        a: One method.
        b: The other method.

    Returns:
        `a`, `b` (titles), `comparable`, `protocol_differences`, `other_differences` (lists of
        {where, a, b}), `unpaired` (folders), `tests` and `verdict`. A test has `split`,
        `embedding`, `metric`, `over`, `n`, `a`, `b` and `difference` (a - b), percent, and for
        n > 1 `interval95` (half width), `standard_error`, `t`, `p_value`, `effect_size` (Cohen's d
        of paired values: mean difference over its standard deviation).

    Raises:
        ExperimentError: If no run has a partner.
    """
    pairs = _pair(a, b)
    paired = {e.folder for pair in pairs for e in pair}
    tests = [
        test
        for split in SPLITS
        for kind in (SEPARATED, CONCATENATED)
        for test in _tests(pairs, split, kind)
    ]
    forbidding = protocol_differences(a.first, b.first)
    others = other_differences(a.first, b.first)
    if len(pairs) == 1 and a.first.seed != b.first.seed:
        drawn = SPLIT_OF_SEED in str(a.first.split_manager)  # so their test classes differ
        (forbidding if drawn else others).append(("seed", a.first.seed, b.first.seed))
    return {
        "a": a.title,
        "b": b.title,
        "comparable": not forbidding,
        "protocol_differences": _named(forbidding),
        "other_differences": _named(others),
        "unpaired": [
            str(e.folder) for e in (*a.experiments, *b.experiments) if e.folder not in paired
        ],
        "tests": tests,
        "verdict": _verdict(a.title, b.title, [where for where, *_ in forbidding], tests),
    }


def to_text(comparison: Mapping[str, Any], form: str = "simple") -> str:
    """Format a comparison.

    Args:
        comparison: The result of `compare`.
        form: A table format of tabulate: simple for the terminal, github for Markdown.
    """
    parts = [f"A = {comparison['a']}\nB = {comparison['b']}", comparison["verdict"]]
    for key, title in (
        ("protocol_differences", "The protocol differs:"),
        ("other_differences", "The methods differ:"),
    ):
        if comparison[key]:
            lines = [[d["where"], _short(d["a"]), _short(d["b"])] for d in comparison[key]]
            parts.append(f"{title}\n\n{_table(lines, ['where', 'A', 'B'], form)}")
    if comparison["unpaired"]:
        parts.append("Left out, without a partner: " + ", ".join(comparison["unpaired"]) + ".")
    titles = metric_titles(test["metric"] for test in comparison["tests"])
    lines = []
    for test in comparison["tests"]:
        line = [test["split"], test["embedding"], titles[test["metric"]]]
        line += [f"{test['a']:.2f}", f"{test['b']:.2f}"]
        line += [with_interval(test["difference"], test.get("interval95"), "+")]
        line += [f"{test['p_value']:.3g}" if "p_value" in test else ""]
        line += [f"{test['effect_size']:.2f}" if "effect_size" in test else ""]
        lines.append([*line, f"{test['n']} {test['over']}"])
    head = ["split", "embedding", "metric", "A", "B", "A - B", "p", "effect size", "pairs"]
    parts.append(_table(lines, head, form))
    parts.append(
        "Percent; ± half width of the 95 % interval of the mean difference; p: two-sided paired "
        "t-test, not corrected for the number of rows; effect size: Cohen's d of paired values."
    )
    return "\n\n".join(parts) + "\n"


def _pair(a: Group, b: Group) -> Pairs:
    if len(a.experiments) == len(b.experiments) == 1:
        return [(a.first, b.first)]
    by_seed = {e.seed: e for e in b.experiments if e.seed is not None}
    pairs = [(e, by_seed[e.seed]) for e in a.experiments if e.seed in by_seed]
    if not pairs:
        raise ExperimentError(
            f"no run of {a.title} has a partner in {b.title}: the seeds are "
            f"{[e.seed for e in a.experiments]} and {[e.seed for e in b.experiments]}; expected "
            "runs with the same seeds, or one run each."
        )
    return pairs


def _tests(pairs: Pairs, split: str, kind: str) -> list[dict[str, Any]]:
    scores = [[e.scores.get(split, {}).get(kind) for e in pair] for pair in pairs]
    complete = [(x, y) for x, y in scores if x and y]
    tests = []
    for metric in complete[0][0] if complete else ():
        values = [(x[metric], y[metric]) for x, y in complete if metric in x and metric in y]
        if len(values) == 1:  # one run each: its split schemes
            x, y = values[0]
            both = [(x[scheme], y[scheme]) for scheme in x if scheme in y]
            over = "split schemes" if kind == SEPARATED else "runs"
        else:
            both = [(_mean(x, y), _mean(y, x)) for x, y in values]
            over = "runs"
        if both:
            place = {"split": split, "embedding": kind, "metric": metric, "over": over}
            tests.append(place | paired_test(np.array(both)))
    return tests


def _mean(values: Mapping[str, float], others: Mapping[str, float]) -> float:
    """Return the mean over the split schemes that both have."""
    return float(np.mean([values[scheme] for scheme in values if scheme in others]))


def paired_test(both: np.ndarray) -> dict[str, Any]:
    """Test paired values by Student's t.

    Args:
        both: (n, 2), percent.

    Returns:
        `n`, `a`, `b` (means), `difference` (a - b) and, for n > 1, `interval95` (half width) and
        `standard_error`; `t`, `p_value` and `effect_size` unless all differences are equal.
    """
    change = both[:, 0] - both[:, 1]
    mean, half = mean_and_interval(list(change))
    a, b = both.mean(axis=0)
    numbers = {"n": len(both), "a": float(a), "b": float(b), "difference": mean}
    if len(both) > 1:
        numbers |= {"interval95": half, "standard_error": float(stats.sem(change))}
        if change.std() > _ROUNDING:  # otherwise all differences are equal and there is no test
            t, p = stats.ttest_rel(both[:, 0], both[:, 1])
            effect = mean / change.std(ddof=1)
            numbers |= {"t": float(t), "p_value": float(p), "effect_size": float(effect)}
    return numbers


def _verdict(a: str, b: str, forbidding: list[str], tests: list[dict[str, Any]]) -> str:
    if forbidding:
        where = sorted({place.partition("/")[0] for place in forbidding})
        return (
            f"No winner: the protocols differ ({', '.join(where)}). "
            "The numbers below say nothing about the methods."
        )
    main = [
        test
        for test in tests
        if (test["split"], test["embedding"], test["metric"]) == ("test", SEPARATED, MAIN_METRIC)
    ]
    if not main:
        return "No winner: the two were not both evaluated on test (--evaluate)."
    test = main[0]
    if test["n"] < 2:
        return "No winner: a single pair cannot be tested; at least two are needed."
    found = f"test MAP@R {with_interval(test['difference'], test['interval95'], '+')} points"
    found += f", {test['n']} {test['over']}"
    if "p_value" not in test:
        return f"No winner: all pairs differ by exactly {test['difference']:+.2f} points."
    found += f", p = {test['p_value']:.2g}"
    if test["p_value"] >= ALPHA:
        return f"The difference is not significantly different from zero: {found}."
    name, better, worse = ("A", a, b) if test["difference"] > 0 else ("B", b, a)
    verdict = f"{name} is better: {better} against {worse}, A - B on {found}."
    if test["over"] != "runs":
        verdict += " There is only one run each: other seeds may differ."
    return verdict


def _named(found: list[tuple[str, Any, Any]]) -> list[dict[str, Any]]:
    return [{"where": where, "a": a, "b": b} for where, a, b in found]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _table(lines: list[list[str]], head: list[str], form: str) -> str:
    return tabulate(lines, head, tablefmt=form, disable_numparse=True)
