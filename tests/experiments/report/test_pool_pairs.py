import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.experiments.report.pool_pairs import (
    PairGroup,
    PoolPairs,
    describe_pairs,
    draw_pairs,
)
from slade_plugin.experiments.studies.mined_pairs import read_records


def by_hand(has_loss: Any = None) -> PoolPairs:
    """Two batches of three images: the first two of each share their pseudo label."""
    return PoolPairs(
        similarity=np.array([[0.9, 0.1, -0.2], [0.2, 0.6, -0.1]], dtype=np.float32),
        same_label=np.array([[True, False, False], [True, False, False]]),
        same_class=np.array([[True, False, False], [False, True, False]]),
        has_loss=None if has_loss is None else np.array(has_loss),
        mu_pos=0.5,
        mu_neg=0.0,
        split_scheme="scheme",
        epoch=3,
    )


def test_groups_of_two_batches_by_hand() -> None:
    """P: one pair a batch, one of two is right. N: two a batch, one of four is of one class."""
    groups = {g.title: g for g in describe_pairs(by_hand([[1, 1, 0], [1, 1, 1]]))}
    assert groups["one pseudo label"] == PairGroup("one pseudo label", 1, 0.5, 1)
    assert groups["... s >= mu+"] == PairGroup("... s >= mu+", 0.5, 1, 0.5)
    assert groups["two pseudo labels"] == PairGroup("two pseudo labels", 2, 0.25, 1.5)
    assert groups["... with a loss"] == PairGroup("... with a loss", 1.5, 1 / 3, 1.5)
    assert groups["... the most similar hundredth"] == PairGroup(
        "... the most similar hundredth", 1, 0.5, 1
    )
    assert groups["... s <= mu-"] == PairGroup("... s <= mu-", 1, 0, 0.5)


def test_without_a_known_loss_there_is_no_such_row() -> None:
    groups = describe_pairs(by_hand())
    assert "... with a loss" not in {g.title for g in groups}
    assert all(math.isnan(g.with_loss) for g in groups)


def test_shares_are_of_each_batch_and_ordered_by_similarity() -> None:
    """Forty pairs a batch, right where similarity is above a bound that differs by batch."""
    rng = np.random.default_rng(0)
    similarity = rng.permuted(np.tile(np.linspace(-1, 1, 80), (3, 1)), axis=1).astype(np.float32)
    similarity += np.array([[0.0], [5.0], [-5.0]], dtype=np.float32)
    same_label = np.zeros((3, 80), dtype=bool)
    for row in same_label:
        row[rng.permutation(80)[:40]] = True
    in_order = np.where(same_label, similarity, -np.inf).argsort(axis=1)[:, ::-1]
    same_class = np.zeros((3, 80), dtype=bool)
    np.put_along_axis(same_class, in_order[:, :4], True, axis=1)  # the most similar tenth
    pairs = PoolPairs(similarity, same_label, same_class, None, 0.0, 0.0, "scheme", 1)
    groups = {g.title: g for g in describe_pairs(pairs)}
    assert groups["... the most similar tenth"].pairs == 4
    assert groups["... the most similar tenth"].one_class == 1
    assert groups["... the more similar half"].pairs == 20
    assert groups["... the more similar half"].one_class == pytest.approx(0.2)
    assert groups["... the least similar tenth"].one_class == 0
    assert groups["one pseudo label"].one_class == pytest.approx(0.1)


def test_a_group_without_pairs_has_no_share() -> None:
    pairs = PoolPairs(**{**vars(by_hand()), "mu_pos": 2.0})
    (group,) = (g for g in describe_pairs(pairs) if g.title == "... s >= mu+")
    assert group.pairs == 0
    assert math.isnan(group.one_class)


@pytest.fixture(scope="module")
def student(finished: Path) -> Path:
    return finished / "student"


def test_batches_are_those_of_training(bench, student: Path) -> None:
    pairs = draw_pairs(student, None, str(bench.dataset_root), batches=40, seed=0)
    assert pairs.similarity.shape == pairs.same_label.shape == pairs.same_class.shape
    records = read_records(student)[0]
    positive = pairs.same_label.sum(axis=1)
    assert 2 * positive.mean() == pytest.approx(np.mean(records["num_pos_pairs"]), rel=0.05)
    negative = (~pairs.same_label).sum(axis=1)
    assert 2 * negative.mean() == pytest.approx(np.mean(records["num_neg_pairs"]), rel=0.05)
    assert np.abs(pairs.similarity).max() <= 1 + 1e-6
    assert pairs.epoch in (1, 2)


def test_the_means_and_the_similarity_are_those_of_the_saved_basis(bench, student: Path) -> None:
    pairs = draw_pairs(student, None, str(bench.dataset_root), batches=2, seed=0)
    folder = student / pairs.split_scheme / "saved_models"
    state = torch.load(folder / f"basis_loss_best{pairs.epoch}.pth", weights_only=True)
    assert (pairs.mu_pos, pairs.mu_neg) == (
        float(state["positive_mean"]),
        float(state["negative_mean"]),
    )
    alike, other = pairs.similarity[pairs.same_label], pairs.similarity[~pairs.same_label]
    assert alike.mean() > other.mean()


def test_the_seed_decides_and_nothing_is_written(bench, student: Path) -> None:
    def hashes() -> dict[str, str]:
        return {str(p): sha256_of_file(p) for p in student.rglob("*") if p.is_file()}

    before = hashes()
    root = str(bench.dataset_root)
    first, again, other = (draw_pairs(student, None, root, 2, seed) for seed in (0, 0, 1))
    assert np.array_equal(first.similarity, again.similarity)
    assert not np.array_equal(first.similarity, other.similarity)
    assert hashes() == before


def test_each_split_scheme_has_its_own(bench, student: Path) -> None:
    root = str(bench.dataset_root)
    schemes = sorted(p.parent.name for p in student.glob("Test*/saved_models"))
    found = [draw_pairs(student, scheme, root, 1, 0) for scheme in schemes]
    assert [pairs.split_scheme for pairs in found] == schemes
    assert found[0].mu_pos != found[1].mu_pos


def test_a_teacher_is_refused(bench, finished: Path) -> None:
    with pytest.raises(ExperimentError, match=r"not a student with a basis_loss.*slade_basis"):
        draw_pairs(finished / "teacher", None, str(bench.dataset_root), 1, 0)


def test_the_basis_is_read_from_its_file(bench, student: Path, tmp_path: Path) -> None:
    """One without responses finds everything equally unlike."""
    copy = tmp_path / "student"
    shutil.copytree(student, copy)
    for path in copy.glob("*/saved_models/basis_loss_best*.pth"):
        state = torch.load(path, weights_only=True)
        state["W_a"].zero_()
        state["response_mean"].zero_()
        torch.save(state, path)
    assert not draw_pairs(copy, None, str(bench.dataset_root), 1, 0).similarity.any()


def test_a_damaged_basis_is_named(bench, student: Path, tmp_path: Path) -> None:
    copy = tmp_path / "student"
    shutil.copytree(student, copy)
    for path in copy.glob("*/saved_models/basis_loss_best*.pth"):
        path.write_bytes(b"no zip file")
    with pytest.raises(CheckpointError, match=r"basis_loss_best\d\.pth cannot be read"):
        draw_pairs(copy, None, str(bench.dataset_root), 1, 0)


def test_a_pool_of_unknown_classes_is_refused(bench, student: Path, monkeypatch: Any) -> None:
    parser = "slade_plugin.host.api_parsers.APISladeStudent.get_true_labels"
    monkeypatch.setattr(parser, lambda self: None)
    with pytest.raises(ExperimentError, match="no true labels"):
        draw_pairs(student, None, str(bench.dataset_root), 1, 0)
