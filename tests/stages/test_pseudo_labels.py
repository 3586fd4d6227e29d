"""The pseudo labels of each round: what is checked and what is printed."""

from pathlib import Path
from typing import Any

import pytest

from slade_plugin.method.pseudo_labels.last_round import compare_with_last_round
from slade_plugin.method.pseudo_labels.record import load_pseudo_labels
from tests.pipeline_runs import (
    RESUME,
    SCHEMES,
    state,
    undo,
)


@pytest.mark.parametrize("suffix", ["npy", "json"])
@pytest.mark.parametrize("folder", ["pseudo_labels", f"student/{SCHEMES[1]}"])
def test_damaged_pseudo_labels_are_named(
    folder: str, suffix: str, bench: Any, copied: Path, command: str
) -> None:
    undo(copied, "student", "baseline")
    path = copied / folder / f"{SCHEMES[1]}.{suffix}"
    content = bytearray(path.read_bytes())
    content[-9] ^= 3
    path.write_bytes(bytes(content))
    outcome = bench(command, RESUME, root=copied.parent)
    assert outcome.code == 2
    assert f"PseudoLabelError: {copied / folder / SCHEMES[1]}" in outcome.err


def test_a_round_says_how_far_its_pseudo_labels_moved(two_rounds: Path) -> None:
    first, second = (
        load_pseudo_labels(two_rounds / folder, SCHEMES[0])
        for folder in ("pseudo_labels", "round2/pseudo_labels")
    )
    change = second.manifest["last_round"]
    expected = compare_with_last_round(second.cluster_ids, first.cluster_ids)
    assert {k: change[k] for k in expected} == expected
    assert "last_round" not in first.manifest
    content = state(two_rounds)["stages"]["round2/pseudo_labels"]["manifests"]
    assert content[SCHEMES[0]]["last_round"] == change
    out = (two_rounds.parent / "out.txt").read_text()
    assert "[4/6] pseudo labels, round 2: 8 clusters" in out
    assert (
        f"{SCHEMES[0]}: against the last round NMI {change['NMI']:.3f}, "
        f"{100 * change['moved']:.1f} % of the images moved"
    ) in out
