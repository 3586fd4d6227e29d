"""One step of the student is the poster's objective, whichever rung of the ladder it stands on."""

import copy
import inspect
import math
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from powerful_benchmarker.architectures.misc_models import MLP
from pytorch_metric_learning import losses
from pytorch_metric_learning.miners.base_miner import BaseSubsetBatchMiner, BaseTupleMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from pytorch_metric_learning.utils.logging_presets import HookContainer, get_record_keeper
from torch import Tensor, nn
from torch.autograd import gradcheck

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.seeding import seed_everything
from slade_plugin.data.datasets.pseudo_labeled_dataset import PseudoLabeledDataset
from slade_plugin.host.hooks import CheckpointedHookContainer
from slade_plugin.host.testers import SladeTester
from slade_plugin.method.clusterers import KMeans, UnlabeledPool
from slade_plugin.method.functional import PairIndices, pairs_by_label, pairwise_cosine
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.miners import (
    BasisSimilarityMiner,
    PoolBatch,
    PoolPairMiner,
    PseudoLabelPairMiner,
)
from slade_plugin.method.pairwise_losses import SimilarityDistribution
from slade_plugin.method.pseudo_labels.agreement import compare_with_true_labels
from slade_plugin.method.pseudo_labels.record import PseudoLabels
from slade_plugin.method.thresholds import Fixed, Quantile
from slade_plugin.method.trainers import SladeStudent

DIM = 8  # of Blobs
C, K = 6, 5  # labeled classes, pseudo labels
NAMES = ("metric_loss", "unlabeled_metric_loss", "basis_loss")
WEIGHTS = {"metric_loss": 1.0, "unlabeled_metric_loss": 0.5, "basis_loss": 0.25}


@pytest.fixture
def make(blobs: Any, tiny_trunk: Callable[[], nn.Module]) -> Callable[..., SladeStudent]:
    """Makes a student on Blobs, rung 2 (pseudo labels), 3 (and basis) or 4 (and mining)."""

    def build(rung: int = 4, seed: int = 0, **changes: Any) -> SladeStudent:
        seed_everything(seed)
        labeled = blobs(classes=C, noise=0.4)
        pool = blobs(classes=K, subset="unlabeled", noise=0.4)
        # Neither the order of the pool nor its first image take part as they are.
        places = np.random.default_rng(0).permutation(np.arange(1, len(pool)))
        pseudo_labeled = PseudoLabeledDataset(pool, places, pool.labels[places] + C)
        models = changes.pop("models", None) or {"trunk": tiny_trunk(), "embedder": MLP([16, DIM])}
        loss_funcs: dict[str, nn.Module] = {
            "metric_loss": losses.ContrastiveLoss(neg_margin=1.2),
            "unlabeled_metric_loss": losses.ContrastiveLoss(neg_margin=1.2),
        }
        mining_funcs: dict[str, nn.Module] = {"unlabeled_tuple_miner": PseudoLabelPairMiner()}
        if rung >= 3:
            loss_funcs["basis_loss"] = FeatureBasisLoss(num_classes=C, embedding_size=DIM)
        if rung == 4:
            mining_funcs = {"unlabeled_tuple_miner": BasisSimilarityMiner()}
        loss_funcs |= changes.pop("loss_funcs", {})
        parts = {
            k: v for k, v in (models | loss_funcs).items() if any(True for _ in v.parameters())
        }
        settings: dict[str, Any] = {
            "batch_size": 8,
            "unlabeled_batch_size": 12,
            "dataset": labeled,
            "sampler": MPerClassSampler(labeled.labels, m=4, length_before_new_iter=48),
            "unlabeled_dataset": pseudo_labeled,
            "unlabeled_sampler": MPerClassSampler(
                pseudo_labeled.labels, m=4, length_before_new_iter=60
            ),
            "num_classes": C,
            "true_labels": pool.labels,
            "mining_funcs": mining_funcs,
            "optimizers": {
                f"{k}_optimizer": torch.optim.Adam(v.parameters(), lr=0.01)
                for k, v in parts.items()
            },
            "loss_weights": {k: WEIGHTS.get(k, 1) for k in loss_funcs},
            "dataset_labels": list(range(C)),
            "set_min_label_to_zero": True,
            "data_and_label_getter": lambda batch: (batch["data"], batch["label"]),
            "dataloader_num_workers": 0,
            "data_device": torch.device("cpu"),
            "iterations_per_epoch": 1,
        }
        return SladeStudent(models=models, loss_funcs=loss_funcs, **(settings | changes))

    return build


def started(trainer: SladeStudent) -> SladeStudent:
    """As `train` leaves a trainer before its first step."""
    trainer.initialize_dataloader()
    trainer.epoch, trainer.iteration = 1, 0
    trainer.set_to_train()
    return trainer


def values_of(losses_by_name: dict[str, Any]) -> dict[str, float]:
    return {k: float(torch.as_tensor(v).detach()) for k, v in losses_by_name.items()}


def one_step(trainer: SladeStudent) -> dict[str, float]:
    trainer.forward_and_backward()
    return values_of(trainer.losses)


def embeddings_of(trainer: SladeStudent, *images: Tensor) -> Tensor:
    """What the step will compute, without moving any statistic."""
    models = copy.deepcopy(trainer.models)
    with torch.no_grad():
        return models["embedder"](models["trunk"](torch.cat(images)))


def fix_batch(trainer: SladeStudent) -> tuple[Tensor, ...]:
    """Lets the trainer draw one batch and then no other."""
    batch = trainer.get_batch()
    trainer.get_batch = lambda: batch  # type: ignore[method-assign]
    return batch


def states(trainer: SladeStudent, *groups: str) -> dict[str, Any]:
    """Everything a checkpoint holds, as plain values by name."""

    def flatten(value: Any, name: str) -> dict[str, Any]:
        if isinstance(value, dict):
            parts = [flatten(v, f"{name}.{k}") for k, v in value.items()]
            return {k: v for part in parts for k, v in part.items()}
        if isinstance(value, list | tuple):
            return flatten(dict(enumerate(value)), name)
        return {name: value.tolist() if torch.is_tensor(value) else value}

    groups = groups or ("models", "optimizers", "loss_funcs", "mining_funcs")
    parts = [(g, k, v) for g in groups for k, v in getattr(trainer, g).items()]
    return {n: x for g, k, v in parts for n, x in flatten(v.state_dict(), f"{g}.{k}").items()}


# ---- terms by hand ------------------------------------------------------------------------------


def contrastive_by_hand(x: Tensor, pairs: tuple[list[Any], list[Any]], margin: float) -> float:
    """Eq. 1 over ordered pairs: means of the distances and of the gaps below the margin, if any."""
    x = (x / x.norm(dim=1, keepdim=True)).double()
    distance = [[float((a - b).norm()) for b in x] for a in x]
    terms = (
        [distance[i][j] for i, j in pairs[0]],
        [margin - distance[i][j] for i, j in pairs[1]],
    )
    positive = [[value for value in term if value > 0] for term in terms]
    return sum(sum(values) / len(values) if values else 0.0 for values in positive)


def by_label(labels: Tensor) -> tuple[list[Any], list[Any]]:
    n = range(len(labels))
    same = [(i, j) for i in n for j in n if i != j and labels[i] == labels[j]]
    return same, [(i, j) for i in n for j in n if labels[i] != labels[j]]


def similarity_by_hand(trainer: SladeStudent, x: Tensor) -> np.ndarray:
    basis: Any = trainer.loss_funcs["basis_loss"]
    r = (x / x.norm(dim=1, keepdim=True)).double().numpy() @ basis.W_a.detach().double().numpy().T
    r = r / np.linalg.norm(r, axis=1, keepdims=True)
    return r @ r.T


def basis_by_hand(trainer: SladeStudent, x: Tensor, labels: Tensor) -> tuple[float, Any]:
    """L_CE of the first rows and L_SD of the others, at the first batch, and its Gaussians."""
    basis: Any = trainer.loss_funcs["basis_loss"]
    labeled = labels < C
    f = (x / x.norm(dim=1, keepdim=True)).double()
    logits = f[labeled] @ basis.W_a.detach().double().T
    chosen = logits.exp()[range(len(logits)), labels[labeled]] / logits.exp().sum(dim=1)
    similarity, pseudo = similarity_by_hand(trainer, x[~labeled]), labels[~labeled]
    same, different = by_label(pseudo)
    p = np.array([similarity[i, j] for i, j in same if i < j])
    n = np.array([similarity[i, j] for i, j in different if i < j])
    gaussians = p.mean(), n.mean(), p.var(), n.var()
    distribution = max(n.mean() - p.mean() + 0.5, 0) + p.var() + n.var()
    return float(-chosen.log().mean()) + distribution, gaussians


@pytest.mark.parametrize("rung", [2, 3, 4])
def test_terms_are_those_computed_by_hand(rung: int, make: Callable[..., SladeStudent]) -> None:
    classes = np.arange(12 * K) % 3  # of the pool, nothing like the pseudo labels
    trainer = started(make(rung, true_labels=classes))
    images, labels, pool_images, pseudo_labels, pool_index = fix_batch(trainer)
    x = embeddings_of(trainer, images, pool_images)
    labeled, unlabeled = x[: len(labels)], x[len(labels) :]
    all_labels = torch.cat([labels, pseudo_labels])

    expected = {"metric_loss": contrastive_by_hand(labeled, by_label(labels), 1.2)}
    pairs = by_label(pseudo_labels)
    if rung >= 3:
        expected["basis_loss"], (t1, t2, _, _) = basis_by_hand(trainer, x, all_labels)
    if rung == 4:
        assert t1 > t2, "nothing would be mined"
        s, n = similarity_by_hand(trainer, unlabeled), range(len(unlabeled))
        pairs = (
            [(i, j) for i in n for j in n if i != j and s[i, j] >= t1],
            [(i, j) for i in n for j in n if i != j and s[i, j] <= t2],
        )
        assert set(pairs[0]) != set(by_label(pseudo_labels)[0]), "as on rung 3"
    expected["unlabeled_metric_loss"] = contrastive_by_hand(unlabeled, pairs, 1.2)

    found = one_step(trainer)
    right = [classes[pool_index[i]] == classes[pool_index[j]] for i, j in pairs[0]]
    miner: Any = trainer.mining_funcs["unlabeled_tuple_miner"]
    assert 0 < sum(right) < len(right)
    assert miner.positive_precision == pytest.approx(sum(right) / len(right))
    for name, value in expected.items():
        assert value > 0
        assert found[name] == pytest.approx(WEIGHTS[name] * value, rel=1e-4), name
    assert found["total_loss"] == pytest.approx(
        sum(WEIGHTS[name] * value for name, value in expected.items()), rel=1e-4
    )
    assert set(found) == {*expected, "total_loss"}


def test_objective_by_hand(make: Callable[..., SladeStudent]) -> None:
    """Tiny embeddings, W_a the unit matrix, m = 0.7, lambda_v = 1, lambda1 = 0.5, lambda2 = 0.25.

    D^l: (1, 0) and (0.6, 0.8) of class 0, (0, 1) of class 1. Positive sqrt(0.8) apart, negative
    sqrt(2) and sqrt(0.4): L_rank = 0.894427 + 1 - 0.632456 = 1.261972.
    L_CE: the logits are f itself: (2 log(1 + exp(-1)) + log(1 + exp(0.2))) / 3 = 0.474888.
    D^u: (1, 0) and (0.8, 0.6) of one pseudo label, (0, 1) of another. Positive sqrt(0.4) apart,
    negative sqrt(2) and sqrt(0.8): L_rank = 0.632456 + 1 - 0.894427 = 0.738028.
    L_SD: cosines 0.8; 0 and 0.6, so max(0.3 - 0.8 + 0.7, 0) + 0 + 0.09 = 0.29.
    """
    basis = FeatureBasisLoss(2, 2, SimilarityDistribution(margin=0.7))
    with torch.no_grad():
        basis.W_a.copy_(torch.eye(2))
    contrastive = losses.ContrastiveLoss(pos_margin=0, neg_margin=1.0)
    names = ("metric_loss", "unlabeled_metric_loss")
    trainer = make(
        3,
        models={"trunk": nn.Identity(), "embedder": nn.Identity()},
        loss_funcs=dict.fromkeys(names, contrastive) | {"basis_loss": basis},
        num_classes=2,
    )
    images = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    pool_images = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    labels, pseudo_labels = torch.tensor([0, 0, 1]), torch.tensor([2, 2, 3])
    batch = (images, labels, pool_images, pseudo_labels, torch.arange(3))
    trainer.get_batch = lambda: batch  # type: ignore[method-assign]
    cross_entropy = (2 * math.log(1 + math.exp(-1)) + math.log(1 + math.exp(0.2))) / 3
    expected = {
        "metric_loss": math.sqrt(0.8) + 1 - math.sqrt(0.4),
        "unlabeled_metric_loss": 0.5 * (math.sqrt(0.4) + 1 - math.sqrt(0.8)),
        "basis_loss": 0.25 * (cross_entropy + 0.29),
        "total_loss": 1.261972 + 0.5 * 0.738028 + 0.25 * (0.474888 + 0.29),
    }
    assert one_step(trainer) == pytest.approx(expected, abs=2e-6)


def test_objective_is_linear_in_its_weights(make: Callable[..., SladeStudent]) -> None:
    """Value and gradient anywhere follow from those at (0, 0), (1, 0) and (0, 1)."""

    def at(lambda1: float, lambda2: float) -> Tensor:
        weights = {"metric_loss": 1.0, "unlabeled_metric_loss": lambda1, "basis_loss": lambda2}
        trainer = started(make(4, loss_weights=weights))
        total = one_step(trainer)["total_loss"]
        modules = [*trainer.models.values(), *trainer.loss_funcs.values()]
        gradients = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
        return torch.cat([torch.tensor([total]), *(gradient.flatten() for gradient in gradients)])

    start = at(0, 0)
    first, second = at(1, 0) - start, at(0, 1) - start
    assert first[0] > 0
    assert second[0] > 0
    for lambda1, lambda2 in ((1, 1), (0.5, 0.25), (3, 0.1), (0.2, 7)):
        expected = start + lambda1 * first + lambda2 * second
        torch.testing.assert_close(at(lambda1, lambda2), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rung", [2, 3, 4])
def test_gradcheck_of_the_objective(rung: int, make: Callable[..., SladeStudent]) -> None:
    """Through every term and its weight to images (as embeddings) and W_a, in float64.

    Eq. 6 as the paper writes it, at the first batch: a gradient that is by design not that of the
    value (`gradient_mode: batch`, once there is a past) has no finite difference.
    """
    generator = torch.Generator().manual_seed(0)
    images, w_a, centers, noise = (
        torch.randn(rows, DIM, generator=generator, dtype=torch.float64) for rows in (6, C, 2, 8)
    )
    labels, pseudo_labels = torch.tensor([0, 0, 1, 1, 2, 2]), C + torch.tensor([0, 0, 1, 1] * 2)
    pool_images = centers[pseudo_labels - C] + 0.5 * noise  # alike by pseudo label: pairs are mined
    inputs = tuple(x.requires_grad_() for x in (images, pool_images, w_a))
    basis = FeatureBasisLoss(num_classes=C, embedding_size=DIM, gradient_mode="running").double()
    del basis._parameters["W_a"]  # an input of the function in its place
    trainer = make(
        rung,
        models={"trunk": nn.Identity(), "embedder": nn.Identity()},
        loss_funcs={"basis_loss": basis} if rung >= 3 else {},
    )
    unseen = copy.deepcopy(basis.state_dict())
    pairs: list[int] = []

    def total(images: Tensor, pool_images: Tensor, w_a: Tensor) -> Tensor:
        basis.load_state_dict(unseen)
        basis.W_a = w_a  # type: ignore[assignment]
        trainer.calculate_loss((images, labels, pool_images, pseudo_labels, torch.arange(8)))
        trainer.loss_tracker.update(trainer.loss_weights)
        pairs.append(trainer.mining_funcs["unlabeled_tuple_miner"].num_pos_pairs)
        objective: Tensor = trainer.losses["total_loss"]
        return objective

    assert gradcheck(total, inputs)
    assert pairs[0] > 0
    assert set(pairs) == {pairs[0]}, "another choice of pairs is another function"


def test_trap_02_nothing_is_mined_while_the_gaussians_are_not_apart(
    make: Callable[..., SladeStudent],
) -> None:
    trainer = started(make(4))
    basis, miner = trainer.loss_funcs["basis_loss"], trainer.mining_funcs["unlabeled_tuple_miner"]
    for sign, mean in (("positive", 0.2), ("negative", 0.8)):
        getattr(basis, f"{sign}_mean").fill_(mean)
        getattr(basis, f"{sign}_updates").fill_(1)
    found = one_step(trainer)
    assert found["unlabeled_metric_loss"] == 0
    assert found["basis_loss"] > 0
    assert (miner.mining_active, miner.num_pos_pairs, miner.num_neg_pairs) == (0, 0, 0)


class Watching(BasisSimilarityMiner):
    """Keeps what it was given."""

    def choose(self, batch: PoolBatch) -> PairIndices:
        self.seen = batch
        return super().choose(batch)


@pytest.mark.parametrize("start_epoch", [1, 2])
def test_mining_starts_where_its_share_of_the_training_is_done(
    start_epoch: int, make: Callable[..., SladeStudent]
) -> None:
    """Two steps an epoch, three epochs: half of them are done before the second one of epoch 2."""
    late = Watching(start=0.5)
    active = []

    def note(trainer: SladeStudent) -> None:
        active.append((trainer.epoch, trainer.iteration, late.seen.progress >= late.start))

    trainer = make(
        4,
        mining_funcs={"unlabeled_tuple_miner": late},
        num_epochs=3,
        iterations_per_epoch=2,
        end_of_iteration_hook=note,
    )
    trainer.train(start_epoch, 3)
    every = [(epoch, step, (epoch, step) >= (2, 1)) for epoch in (1, 2, 3) for step in (0, 1)]
    assert active == [entry for entry in every if entry[0] >= start_epoch]


def test_until_mining_starts_rung_4_is_rung_3(make: Callable[..., SladeStudent]) -> None:
    def steps(rung: int, **changes: Any) -> list[dict[str, float]]:
        trainer, found = started(make(rung, num_epochs=2, **changes)), []
        for trainer.epoch in (1, 1, 1, 2):
            found.append(one_step(trainer))
        return found

    late = BasisSimilarityMiner(start=0.5)
    mining = steps(4, mining_funcs={"unlabeled_tuple_miner": late})
    without, from_the_start = steps(3), steps(4)
    assert mining[:3] == without[:3]
    assert mining[3] != without[3]
    assert from_the_start[0] != without[0]


def test_a_start_of_mining_needs_the_length(make: Callable[..., SladeStudent]) -> None:
    late = BasisSimilarityMiner(start=0.5)
    with pytest.raises(ConfigError, match=r"start 0\.5, a share of .* but num_epochs is 0"):
        make(4, mining_funcs={"unlabeled_tuple_miner": late})


def test_thresholds_are_the_running_means_of_this_step(make: Callable[..., SladeStudent]) -> None:
    miner = Watching()
    trainer = started(make(4, mining_funcs={"unlabeled_tuple_miner": miner}))
    basis = trainer.loss_funcs["basis_loss"]
    seen = set()
    for _ in range(3):
        one_step(trainer)
        assert miner.seen.running_means == (basis.mu_pos, basis.mu_neg)
        assert miner.seen.similarity is basis.pool_similarity
        seen.add(miner.seen.running_means)
    assert len(seen) == 3


def test_pairs_are_mined_around_the_running_mean_of_the_responses(
    make: Callable[..., SladeStudent],
) -> None:
    """With center_responses the miner's cosines are those of the loss, and carry no gradient."""
    basis = FeatureBasisLoss(num_classes=C, embedding_size=DIM, center_responses=True)
    miner = Watching()
    trainer = started(
        make(4, loss_funcs={"basis_loss": basis}, mining_funcs={"unlabeled_tuple_miner": miner})
    )
    images, labels, pool_images, _, _ = fix_batch(trainer)
    unlabeled = embeddings_of(trainer, images, pool_images)[len(labels) :]
    unit = unlabeled / unlabeled.norm(dim=1, keepdim=True)
    responses = unit @ basis.W_a.detach().t()
    one_step(trainer)
    assert miner.seen.similarity is not None
    assert not miner.seen.similarity.requires_grad
    expected = pairwise_cosine(responses - responses.mean(dim=0))
    torch.testing.assert_close(miner.seen.similarity, expected)


def test_the_similarity_of_the_pool_is_computed_once_a_step(
    make: Callable[..., SladeStudent], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(*given: Any) -> Tensor:
        calls.append(1)
        return pairwise_cosine(*given)

    monkeypatch.setattr("slade_plugin.method.losses.feature_basis_loss.pairwise_cosine", counted)
    trainer = started(make(4))
    one_step(trainer)
    one_step(trainer)
    assert len(calls) == 2


def test_a_miner_of_a_users_own_needs_no_basis(make: Callable[..., SladeStudent]) -> None:
    """It is given what there is, here pseudo labels alone, and its pairs are recorded."""

    class FirstPair(PoolPairMiner):
        def choose(self, batch: PoolBatch) -> PairIndices:
            self.seen = batch
            pair, nothing = torch.tensor([0, 1]), torch.empty(0, dtype=torch.int64)
            return pair, pair.flip(0), nothing, nothing

    miner = FirstPair()
    trainer = started(make(2, mining_funcs={"unlabeled_tuple_miner": miner}))
    one_step(trainer)
    assert miner.seen.similarity is None
    assert math.isnan(miner.seen.running_means[0])
    assert miner.positive_precision in (0, 1)
    assert math.isnan(miner.negative_precision)


def test_a_negative_true_label_is_refused(make: Callable[..., SladeStudent]) -> None:
    with pytest.raises(DataError, match="a true label of the pool is -1; expected classes >= 0"):
        make(4, true_labels=np.array([0, -1, 1] * 20))


def test_a_weight_of_zero_leaves_the_labeled_loss_out(make: Callable[..., SladeStudent]) -> None:
    trainer = started(make(3, loss_weights=WEIGHTS | {"metric_loss": 0}))
    found = one_step(trainer)
    assert found["metric_loss"] == 0
    others = found["basis_loss"] + found["unlabeled_metric_loss"]
    assert found["total_loss"] == pytest.approx(others)
    assert others > 0


def test_the_labeled_miner_acts_on_labeled_images_only(make: Callable[..., SladeStudent]) -> None:
    class Labels(BaseTupleMiner):
        def mine(self, _: Tensor, labels: Tensor, *__: Tensor) -> PairIndices:
            self.seen = labels
            return pairs_by_label(labels)

    miners = {"tuple_miner": Labels(), "unlabeled_tuple_miner": Labels()}
    trainer = started(make(2, mining_funcs=miners))
    _, labels, _, pseudo_labels, _ = fix_batch(trainer)
    one_step(trainer)
    assert torch.equal(miners["tuple_miner"].seen, labels)
    assert torch.equal(miners["unlabeled_tuple_miner"].seen, pseudo_labels)


# ---- traps 7 and 12 -----------------------------------------------------------------------------

PAIR_LOSSES = {
    "ContrastiveLoss": losses.ContrastiveLoss,
    "MultiSimilarityLoss": losses.MultiSimilarityLoss,
    "NTXentLoss": losses.NTXentLoss,
}


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_trap_07_both_terms_have_one_reduction(
    name: str, make: Callable[..., SladeStudent]
) -> None:
    """The same images, with labels and with pseudo labels, give the same number."""
    both = {k: PAIR_LOSSES[name]() for k in ("metric_loss", "unlabeled_metric_loss")}
    trainer = make(2, loss_funcs=both, models={"trunk": nn.Identity(), "embedder": nn.Identity()})
    images = torch.randn(8, DIM, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 0, 1, 1, 1, 4, 4, 5])
    trainer.calculate_loss((images, labels, images, labels + C, torch.arange(8)))
    assert trainer.losses["metric_loss"] > 0
    assert torch.equal(trainer.losses["metric_loss"], trainer.losses["unlabeled_metric_loss"])


@pytest.mark.parametrize("name", PAIR_LOSSES)
def test_trap_12_rung_2_is_a_plain_pair_loss_on_pseudo_labels(
    name: str, make: Callable[..., SladeStudent]
) -> None:
    """The value is the host's loss given labels alone; a step without miner ends at the same."""
    plain = PAIR_LOSSES[name]()
    ends = []
    for mining_funcs in ({"unlabeled_tuple_miner": PseudoLabelPairMiner()}, {}):
        trainer = started(
            make(2, loss_funcs={"unlabeled_metric_loss": plain}, mining_funcs=mining_funcs)
        )
        images, labels, pool_images, pseudo_labels, _ = fix_batch(trainer)
        x = embeddings_of(trainer, images, pool_images)
        expected = WEIGHTS["unlabeled_metric_loss"] * plain(x[len(labels) :], pseudo_labels)
        assert one_step(trainer)["unlabeled_metric_loss"] == float(expected) > 0
        ends.append(states(trainer, "models", "optimizers"))
    assert ends[0] == ends[1]


def test_trap_12_rungs_differ_by_their_own_term_only(make: Callable[..., SladeStudent]) -> None:
    """Same seed, same batch: the losses of the lower rung stay as they are."""
    second, third, fourth = ({**one_step(started(make(rung)))} for rung in (2, 3, 4))
    assert "basis_loss" not in second
    for name in ("metric_loss", "unlabeled_metric_loss"):
        assert third[name] == second[name]
    assert third["total_loss"] == pytest.approx(second["total_loss"] + third["basis_loss"])
    for name in ("metric_loss", "basis_loss"):
        assert fourth[name] == third[name]
    assert fourth["unlabeled_metric_loss"] != third["unlabeled_metric_loss"]


# ---- any loss of pairs as L_rank ----------------------------------------------------------------

# All that the host ships but those of classes, which have weights, and two base classes.
SHIPPED = [
    name
    for name, cls in vars(losses).items()
    if inspect.isclass(cls)
    and issubclass(cls, losses.BaseMetricLossFunction)
    and not issubclass(cls, losses.WeightRegularizerMixin)
    and cls not in (losses.BaseMetricLossFunction, losses.GenericPairLoss)
]
# Of these the labels, not only the given pairs, decide what is compared: refused for D^u before
# training (test_trap_08_* in tests/stages/test_preflight.py).
OF_LABELS = ["AngularLoss", "FastAPLoss", "NCALoss", "NPairsLoss"]
MINERS: dict[str, Callable[[], nn.Module]] = {
    "slade_basis": PseudoLabelPairMiner,
    "slade": lambda: BasisSimilarityMiner(True, Quantile(0.1), Quantile(1.0)),
    "slade_paper": BasisSimilarityMiner,
}


def check_terms_train(trainer: SladeStudent) -> None:
    """Each L_rank is finite and pulls at its own half of the batch; so is the objective."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat_interleave(4)
    centres = 2 * nn.functional.one_hot(labels, DIM)
    halves = [torch.randn(16, DIM, generator=generator) + centres for _ in range(2)]
    images, pool_images = (half.requires_grad_() for half in halves)
    trainer.calculate_loss((images, labels, pool_images, labels + C, torch.arange(16)))
    trainer.loss_tracker.update(trainer.loss_weights)
    for name, own, other in (
        ("metric_loss", images, pool_images),
        ("unlabeled_metric_loss", pool_images, images),
    ):
        value = trainer.losses[name]
        assert value.isfinite()
        assert value > 0
        gradient, none = torch.autograd.grad(value, (own, other), retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 1e-3
        assert not none.any()
    total = trainer.losses["total_loss"]
    assert total.isfinite()
    for gradient in torch.autograd.grad(total, (images, pool_images)):
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 1e-3


@pytest.mark.parametrize("miner", MINERS)
@pytest.mark.parametrize("name", [name for name in SHIPPED if name not in OF_LABELS])
def test_any_loss_of_pairs_may_rank_both_halves(
    name: str, miner: str, make: Callable[..., SladeStudent]
) -> None:
    """On D^l over all pairs, on D^u over those of each miner."""
    both = {k: getattr(losses, name)() for k in ("metric_loss", "unlabeled_metric_loss")}
    miners: dict[str, Any] = {"unlabeled_tuple_miner": MINERS[miner]()}
    models = {"trunk": nn.Identity(), "embedder": nn.Identity()}
    check_terms_train(make(4, models=models, loss_funcs=both, mining_funcs=miners))
    found = miners["unlabeled_tuple_miner"]
    assert found.num_pos_pairs > 0
    assert found.num_neg_pairs > 0


@pytest.mark.parametrize("name", OF_LABELS)
def test_losses_of_labels_may_rank_labeled_images(
    name: str, make: Callable[..., SladeStudent]
) -> None:
    models = {"trunk": nn.Identity(), "embedder": nn.Identity()}
    check_terms_train(make(3, models=models, loss_funcs={"metric_loss": getattr(losses, name)()}))


# ---- labels: trap 9 -----------------------------------------------------------------------------


def test_trap_09_labels_of_both_kinds_never_meet(make: Callable[..., SladeStudent]) -> None:
    """Labels of D^l from 0 to c - 1 whatever they are in the data set, pseudo labels from c on."""
    trainer = started(make(2, dataset_labels=list(range(C))))
    seen: tuple[set[int], set[int]] = (set(), set())
    for _ in range(20):
        images, labels, pool_images, pseudo_labels, pool_index = trainer.get_batch()
        assert images.shape == (8, DIM)
        assert pool_images.shape == (12, DIM)
        seen[0].update(labels.tolist())
        seen[1].update(pseudo_labels.tolist())
        pool = trainer.unlabeled_dataset.pool
        assert torch.equal(pool_images, pool.points[pool_index])
        assert pseudo_labels.tolist() == (pool.labels[pool_index] + C).tolist()
    assert seen == (set(range(C)), set(range(C, C + K)))


def test_trap_a11_labels_of_a_fold_are_mapped_to_the_first_numbers(
    make: Callable[..., SladeStudent], blobs: Any
) -> None:
    """A train split of classes 2, 5 and 7, as class-disjoint folds have them."""
    data = blobs(classes=8)
    data.labels = np.array([2, 5, 7]).repeat(32)
    sampler = MPerClassSampler(data.labels, m=4, length_before_new_iter=48)
    trainer = started(make(2, dataset=data, sampler=sampler, dataset_labels=[2, 5, 7]))
    seen = set().union(*(trainer.get_batch()[1].tolist() for _ in range(10)))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("rung", [2, 3, 4])
def test_trap_09_a_pseudo_label_of_minus_one_is_refused(
    rung: int, make: Callable[..., SladeStudent]
) -> None:
    trainer = started(make(rung))
    batch = list(trainer.get_batch())
    batch[3] = torch.where(torch.arange(12) < 2, -1, batch[3])
    with pytest.raises(DataError, match="label -1"):
        trainer.calculate_loss(tuple(batch))


def test_trap_09_pseudo_labels_that_were_not_shifted_are_refused(
    make: Callable[..., SladeStudent], blobs: Any
) -> None:
    """The basis loss would take them for classes of D^l."""
    pool = blobs(classes=K, subset="unlabeled")
    unshifted = PseudoLabeledDataset(pool, np.arange(len(pool)), pool.labels + C - 1)
    with pytest.raises(DataError, match=f"pseudo label is {C - 1}; expected {C} or more"):
        make(4, unlabeled_dataset=unshifted)


def test_true_labels_are_recorded_and_change_nothing(make: Callable[..., SladeStudent]) -> None:
    """Shuffled, or none at all, they give the same losses; precision follows the shuffling."""
    ends, precisions = [], []
    for true_labels in (np.arange(K).repeat(12), np.arange(12 * K) % K, None):
        trainer = started(make(4, true_labels=true_labels))
        ends.append([one_step(trainer) for _ in range(3)])
        precisions.append(trainer.mining_funcs["unlabeled_tuple_miner"].positive_precision)
    assert ends[0] == ends[1] == ends[2]
    assert precisions[0] > precisions[1]
    assert np.isnan(precisions[2])


# ---- what is trained and saved ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rung", "labeled"),
    [
        (2, None),
        (3, None),
        (4, None),
        (4, lambda: losses.ProxyAnchorLoss(num_classes=C, embedding_size=DIM)),
        (4, lambda: losses.NormalizedSoftmaxLoss(num_classes=C, embedding_size=DIM)),
    ],
)
def test_one_step_changes_exactly_what_optimizers_hold(
    rung: int, labeled: Callable[[], nn.Module] | None, make: Callable[..., SladeStudent]
) -> None:
    """Proxies and class weights of the labeled loss are among it."""
    trainer = started(make(rung, loss_funcs={"metric_loss": labeled()} if labeled else {}))
    modules = {**trainer.models, **trainer.loss_funcs, **trainer.mining_funcs}
    parameters = {f"{k}.{n}": p for k, m in modules.items() for n, p in m.named_parameters()}
    held = {id(p) for o in trainer.optimizers.values() for g in o.param_groups for p in g["params"]}
    assert {id(p) for p in parameters.values() if p.requires_grad} == held

    before = {name: p.detach().clone() for name, p in parameters.items()}
    statistics = {f"{k}.{n}": b.clone() for k, m in modules.items() for n, b in m.named_buffers()}
    one_step(trainer)
    changed = [name for name, p in parameters.items() if not torch.equal(p, before[name])]
    assert changed == list(parameters)
    assert ("basis_loss.W_a" in changed) == (rung >= 3)
    assert any(name.startswith("metric_loss.") for name in changed) is (labeled is not None)
    after = {f"{k}.{n}": b for k, m in modules.items() for n, b in m.named_buffers()}
    moved = {name for name in after if not torch.equal(after[name], statistics[name])}
    expected = {f"trunk.norm.{n}" for n in ("running_mean", "running_var", "num_batches_tracked")}
    if rung >= 3:
        expected |= {
            f"basis_loss.{sign}_{n}"
            for sign in ("positive", "negative")
            for n in ("mean", "variance", "updates")
        }
    assert moved == expected


def test_frozen_parts_stay_as_they_are(make: Callable[..., SladeStudent]) -> None:
    trainer = started(make(4, freeze_these=["trunk"]))
    before = states(trainer, "models")
    one_step(trainer)
    after = states(trainer, "models")
    changed = {name for name in after if after[name] != before[name]}
    assert changed
    assert all(name.startswith("models.embedder") for name in changed)


@pytest.mark.parametrize("container", [CheckpointedHookContainer, HookContainer])
@pytest.mark.parametrize("rung", [2, 4])
def test_everything_is_restored_into_a_fresh_student(
    rung: int, container: type, make: Callable[..., SladeStudent], tmp_path: Path
) -> None:
    """W_a, Gaussians, models and optimizers; the next step is then the same to the last bit."""
    hooks = container(None)
    trainer = started(make(rung, seed=0))
    for _ in range(3):
        one_step(trainer)
    hooks.save_models(trainer, str(tmp_path), 3)
    saved = states(trainer)
    if rung == 4:
        assert "loss_funcs.basis_loss.W_a" in saved
        assert saved["loss_funcs.basis_loss.positive_updates"] == 3

    fresh = started(make(rung, seed=1))
    assert states(fresh) != saved
    assert hooks.load_latest_saved_models(fresh, str(tmp_path), torch.device("cpu")) == 4
    assert states(fresh) == saved
    batch = fix_batch(trainer)
    fresh.get_batch = lambda: batch  # type: ignore[method-assign]
    assert one_step(fresh) == one_step(trainer)
    assert states(fresh) == states(trainer) != saved


# ---- warm-up of the basis -----------------------------------------------------------------------


def test_warm_up_changes_the_basis_alone(make: Callable[..., SladeStudent]) -> None:
    """Models with their batch-norm statistics and the other optimizers stay, all is in order."""
    trainer = started(make(4, basis_warmup_iterations=3))
    before = states(trainer)
    trainer.warm_up_basis()
    after = states(trainer)
    changed = {name for name in after if after.get(name) != before.get(name)}
    assert "loss_funcs.basis_loss.W_a" in changed
    basis = ("loss_funcs.basis_loss.", "optimizers.basis_loss_optimizer.")
    assert all(name.startswith(basis) for name in changed)
    assert after["loss_funcs.basis_loss.positive_updates"] == 3
    assert after["optimizers.basis_loss_optimizer.state.0.step"] == 3
    assert all(m.training for m in (*trainer.models.values(), *trainer.loss_funcs.values()))
    gradients = [p.grad for m in trainer.models.values() for p in m.parameters()]
    assert gradients == [None] * len(gradients)


def test_warm_up_leaves_the_models_alone_with_a_subset_batch_miner(
    make: Callable[..., SladeStudent],
) -> None:
    """The host sets the models to train after it has mined a batch."""

    class All(BaseSubsetBatchMiner):
        def mine(self, embeddings: Tensor, *_: Tensor) -> Tensor:
            return torch.arange(len(embeddings))

        def output_assertion(self, output: Tensor) -> None:
            pass

    miners = {"subset_batch_miner": All(8), "unlabeled_tuple_miner": BasisSimilarityMiner()}
    trainer = started(make(4, basis_warmup_iterations=3, mining_funcs=miners))
    before = states(trainer, "models")
    trainer.warm_up_basis()
    assert states(trainer, "models") == before
    assert all(model.training for model in trainer.models.values())


def test_warm_up_is_plain_training_of_the_basis(make: Callable[..., SladeStudent]) -> None:
    """Worked again: as many steps of the same optimizer on embeddings in evaluation mode."""
    trainer = started(make(4, basis_warmup_iterations=4))
    images, labels, pool_images, pseudo_labels, _ = fix_batch(trainer)
    trainer.set_to_eval()
    x = embeddings_of(trainer, images, pool_images)
    basis: Any = copy.deepcopy(trainer.loss_funcs["basis_loss"]).train()
    optimizer = torch.optim.Adam([basis.W_a], lr=0.01)
    for _ in range(4):
        value = basis(x, torch.cat([labels, pseudo_labels]))
        (basis.W_a.grad,) = torch.autograd.grad(value, [basis.W_a])
        optimizer.step()
    trainer.warm_up_basis()
    torch.testing.assert_close(trainer.loss_funcs["basis_loss"].W_a, basis.W_a)


def test_warm_up_comes_once_before_the_first_step(
    make: Callable[..., SladeStudent], monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[tuple[int, int]] = []

    def note(self: SladeStudent) -> None:
        times.append((self.epoch, self.iteration))

    monkeypatch.setattr(SladeStudent, "warm_up_basis", note)
    settings = {"basis_warmup_iterations": 2, "iterations_per_epoch": 3}
    make(4, **settings).train(1, 2)
    assert times == [(1, 0)]
    make(4, **settings).train(2, 3)  # resumed
    make(4, iterations_per_epoch=3).train(1, 1)  # not asked for
    assert times == [(1, 0)]


def test_warm_up_lowers_the_basis_loss(make: Callable[..., SladeStudent]) -> None:
    trainer = started(make(4, basis_warmup_iterations=60))
    batch = fix_batch(trainer)
    x = embeddings_of(trainer, batch[0], batch[2])
    labels = torch.cat([batch[1], batch[3]])
    cold = float(copy.deepcopy(trainer.loss_funcs["basis_loss"])(x, labels))
    trainer.warm_up_basis()
    trainer.loss_funcs["basis_loss"].eval()
    assert float(trainer.loss_funcs["basis_loss"](x, labels)) < cold


# ---- records ------------------------------------------------------------------------------------


def tables_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    with closing(sqlite3.connect(folder / "logs.db")) as connection:
        connection.row_factory = sqlite3.Row
        found = connection.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall()
        names = [row["name"] for row in found if not row["name"].startswith("sqlite_")]
        return {n: [dict(r) for r in connection.execute(f"SELECT * FROM [{n}]")] for n in names}


@pytest.mark.parametrize("container", [CheckpointedHookContainer, HookContainer])
def test_records_of_an_iteration(
    container: type, make: Callable[..., SladeStudent], tmp_path: Path
) -> None:
    keeper, _, _ = get_record_keeper(str(tmp_path))
    hooks = container(keeper)
    trainer = make(4, iterations_per_epoch=3, end_of_iteration_hook=None)
    basis: Any = trainer.loss_funcs["basis_loss"]
    miner: Any = trainer.mining_funcs["unlabeled_tuple_miner"]
    seen = []

    def hook(trainer: SladeStudent) -> None:
        hooks.end_of_iteration_hook(trainer)
        seen.append(
            {
                "losses": values_of(trainer.losses),
                "basis": {k: getattr(basis, k) for k in ("mu_pos", "mu_neg", "var_pos", "var_neg")},
                "miner": {
                    k: getattr(miner, k)
                    for k in (
                        "mining_active", "num_pos_pairs", "num_neg_pairs", "positive_precision",
                        "negative_precision", "positive_recall", "negative_recall",
                    )
                },
            }
        )  # fmt: skip

    trainer.end_of_iteration_hook = hook
    trainer.train(1, 1)
    keeper.save_records()
    tables = tables_of(tmp_path)

    assert len(tables["loss_histories"]) == 3
    for row, expected in zip(tables["loss_histories"], seen, strict=True):
        assert {k: row[k] for k in (*NAMES, "total_loss")} == pytest.approx(expected["losses"])
    for table, key in (
        ("basis_loss_FeatureBasisLoss", "basis"),
        ("unlabeled_tuple_miner_BasisSimilarityMiner", "miner"),
    ):
        for row, expected in zip(tables[table], seen, strict=True):
            assert {k: row[k] for k in expected[key]} == pytest.approx(expected[key])
    assert tables["loss_weights"][0]["basis_loss"] == WEIGHTS["basis_loss"]
    assert seen[0]["miner"]["mining_active"] == 1
    assert 0 < seen[0]["miner"]["positive_precision"] <= 1

    # The terms of the basis loss, which its reducers record each alone: L_CE and L_SD.
    terms = {k: v for t in tables.values() for k, v in t[0].items()}
    parts = terms["cross_entropy"] + terms["similarity_distribution"]
    assert WEIGHTS["basis_loss"] * parts == pytest.approx(seen[0]["losses"]["basis_loss"])


# ---- trap 10 ------------------------------------------------------------------------------------


def test_trap_10_the_teachers_best_epoch_does_not_win(tmp_path: Path) -> None:
    """Experiments have records of their own: a student that scores less has a best epoch too."""
    found = {}
    for name, scores in (("teacher", {1: 0.5, 9: 0.9}), ("student", {1: 0.3, 2: 0.4, 3: 0.2})):
        keeper, _, _ = get_record_keeper(str(tmp_path / name))
        hooks = CheckpointedHookContainer(keeper)
        tester = SladeTester(dataloader_num_workers=0)
        tester.dim_reduced_embeddings = {}
        assert hooks.get_best_epoch_and_accuracy(tester, "val") == (None, 0)
        for epoch, score in scores.items():
            accuracy = {"mean_average_precision_at_r_level0": score}
            tester.all_accuracies = {"val": {"epoch": epoch, **accuracy}}
            hooks.end_of_testing_hook(tester)
            keeper.save_records()
        found[name] = hooks.get_best_epoch_and_accuracy(tester, "val")
    assert found == {"teacher": (9, 0.9), "student": (2, 0.4)}


# ---- settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unlabeled_batch_size": 1}, "unlabeled_batch_size is 1; expected an integer >= 2"),
        ({"unlabeled_batch_size": 16.0}, "unlabeled_batch_size is 16.0"),
        ({"unlabeled_batch_size": True}, "unlabeled_batch_size is True"),
        (
            {"basis_warmup_iterations": -1},
            "basis_warmup_iterations is -1; expected an integer >= 0",
        ),
        ({"set_min_label_to_zero": False}, "set_min_label_to_zero is False; expected True"),
    ],
)
def test_wrong_settings_are_named(
    changes: dict[str, Any], message: str, make: Callable[..., SladeStudent]
) -> None:
    with pytest.raises(ConfigError, match=f"{message}.*config_general"):
        make(4, **changes)


def test_warm_up_without_a_basis_is_refused(make: Callable[..., SladeStudent]) -> None:
    with pytest.raises(ConfigError, match="no basis_loss to warm up"):
        make(2, basis_warmup_iterations=1)


def test_a_frozen_basis_is_refused_where_it_would_have_to_move(
    make: Callable[..., SladeStudent],
) -> None:
    """Not warmed up, and with thresholds of its own, it is a fixed projection and can be used."""
    frozen: dict[str, Any] = {"freeze_these": ["basis_loss"]}
    with pytest.raises(ConfigError, match="contains basis_loss, but basis_warmup_iterations is 3"):
        make(3, basis_warmup_iterations=3, **frozen)
    with pytest.raises(ConfigError, match="running means then stay unknown"):
        make(4, **frozen)
    fixed = BasisSimilarityMiner(positive_threshold=Quantile(0.9), negative_threshold=Fixed(0.5))
    trainer = started(make(4, mining_funcs={"unlabeled_tuple_miner": fixed}, **frozen))
    before = copy.deepcopy(trainer.loss_funcs["basis_loss"].state_dict())
    assert one_step(trainer)["total_loss"] > 0
    after = trainer.loss_funcs["basis_loss"].state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert fixed.num_pos_pairs > 0


def test_a_pool_smaller_than_a_batch_is_refused(make: Callable[..., SladeStudent]) -> None:
    with pytest.raises(DataError, match=r"59 pseudo-labeled images cannot fill a batch of 60"):
        make(4, unlabeled_batch_size=60)


def test_a_sampler_shorter_than_a_batch_is_refused(
    make: Callable[..., SladeStudent],
) -> None:
    """Its epochs would hold no batch at all, and the loader would stop without a word."""
    sampler = MPerClassSampler(np.arange(2).repeat(4), m=4, length_before_new_iter=8)
    with pytest.raises(ConfigError, match="unlabeled_sampler draws 8 images"):
        make(4, unlabeled_sampler=sampler)


def test_unknown_losses_are_refused_by_the_host(make: Callable[..., SladeStudent]) -> None:
    with pytest.raises(AssertionError, match="loss_funcs keys must be one of metric_loss, unl"):
        make(2, loss_funcs={"other_loss": losses.ContrastiveLoss()})


def test_a_labeled_loss_is_needed(make: Callable[..., SladeStudent]) -> None:
    trainer = make(3)
    del trainer.loss_funcs["metric_loss"]
    with pytest.raises(AssertionError, match='loss_funcs must contain "metric_loss"'):
        trainer.verify_loss_funcs_keys()


def test_the_pool_is_drawn_again_when_it_ends(make: Callable[..., SladeStudent]) -> None:
    """60 images a pass, 12 a step: the sixth step begins a second pass."""
    trainer = started(make(2))
    drawn = [trainer.get_batch()[4] for _ in range(11)]
    assert all(len(index) == 12 for index in drawn)


# ---- ideal parts --------------------------------------------------------------------------------


def precision_at_1(trainer: SladeStudent, data: Any) -> float:
    tester = GlobalEmbeddingSpaceTester(
        dataloader_num_workers=0,
        data_and_label_getter=lambda batch: (batch["data"], batch["label"]),
    )
    tester.test({"val": data}, 1, trainer.models["trunk"], trainer.models["embedder"])
    return float(tester.all_accuracies["val"]["precision_at_1_level0"])


def test_ideal_parts_end_in_an_ideal_student(
    make: Callable[..., SladeStudent], blobs: Any, tmp_path: Path
) -> None:
    """Separable blobs: embedded as they are, clustered, and learned; each link is perfect."""
    pool = blobs(subset="unlabeled")
    identity = nn.Identity()
    tester = SladeTester(dataloader_num_workers=0)
    embeddings = tester.embed_pool(pool, identity, identity, tmp_path / "pool.npy")
    clusterer = KMeans(num_clusters=8, num_restarts=5)
    result = clusterer.cluster(UnlabeledPool(lambda: embeddings, None, 0))
    agreement = compare_with_true_labels(result.cluster_ids, pool.labels)
    assert agreement == pytest.approx(dict.fromkeys(agreement, 1.0))

    manifest = result.manifest(clusterer, len(pool)) | {"min_cluster_size": 2}
    places, labels = PseudoLabels(result.cluster_ids, manifest).for_training(C)
    trainer = make(
        4,
        unlabeled_dataset=PseudoLabeledDataset(pool, places, labels),
        unlabeled_sampler=MPerClassSampler(labels, m=4, length_before_new_iter=96),
        true_labels=pool.labels,
        iterations_per_epoch=20,
    )
    trainer.train(1, 2)
    assert precision_at_1(trainer, blobs(classes=C)) == 1
    assert precision_at_1(trainer, pool) == 1
    miner: Any = trainer.mining_funcs["unlabeled_tuple_miner"]
    assert miner.positive_precision > 0.9

    shuffled = copy.copy(pool)
    shuffled.labels = np.random.default_rng(0).permutation(pool.labels)
    assert precision_at_1(trainer, shuffled) == pytest.approx(11 / 95, abs=0.1)
