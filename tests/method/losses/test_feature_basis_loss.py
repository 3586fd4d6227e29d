import copy
import inspect
import math
import pickle
from pathlib import Path

import pytest
import torch
from pytorch_metric_learning.regularizers import LpRegularizer
from pytorch_metric_learning.utils.common_functions import list_of_recordable_attributes_list_names
from record_keeper import RecordKeeper, RecordWriter
from torch import Tensor
from torch.autograd import gradcheck

from slade_plugin.base.errors import ConfigError, DataError, ShapeError
from slade_plugin.method.functional import pairwise_cosine
from slade_plugin.method.losses import FeatureBasisLoss
from slade_plugin.method.pairwise_losses import (
    GlobalCE,
    LocalCE,
    PairwiseLoss,
    SimilarityDistribution,
)

NUM_CLASSES = 3
SIZE = 4
# Three labeled rows, then five of the pool: clusters 0, 0, 1, 1, 2.
LABELS = torch.tensor([0, 2, 1, 3, 3, 4, 4, 5])


def make_embeddings(seed: int = 0, rows: int = 8) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, SIZE, generator=generator, dtype=torch.float64)


def make_loss(seed: int = 0, **kwargs: object) -> FeatureBasisLoss:
    loss = FeatureBasisLoss(NUM_CLASSES, SIZE, **kwargs)  # type: ignore[arg-type]
    with torch.no_grad():
        loss.W_a.copy_(
            torch.randn(NUM_CLASSES, SIZE, generator=torch.Generator().manual_seed(seed))
        )
    loss.double()
    return loss


def l_sd(**settings: float) -> dict[str, PairwiseLoss]:
    return {"pairwise_loss": SimilarityDistribution(**settings)}


def terms_of(loss: FeatureBasisLoss) -> tuple[float, float]:
    reducers = loss.reducer.reducers
    pairwise = loss.pairwise_loss.term
    return reducers["cross_entropy"].cross_entropy, getattr(reducers[pairwise], pairwise)


class SlowLoss:
    """The same loss in plain python, written from Eq. 2 to 6, in float64."""

    def __init__(self, basis: Tensor, margin: float, variance_weight: float, beta: float) -> None:
        self.basis: list[list[float]] = basis.tolist()
        self.margin, self.variance_weight, self.beta = margin, variance_weight, beta
        self.running: dict[str, float] = {}

    def response(self, embedding: list[float]) -> list[float]:
        length = math.hypot(*embedding)
        return [
            sum(w * f / length for w, f in zip(row, embedding, strict=True)) for row in self.basis
        ]

    def observe(self, name: str, value: float) -> None:
        old = self.running.get(name)
        self.running[name] = value if old is None else (1 - self.beta) * value + self.beta * old

    def __call__(self, embeddings: Tensor, labels: Tensor, scale: float) -> tuple[float, float]:
        rows = [self.response(row) for row in embeddings.tolist()]
        marks: list[int] = labels.tolist()
        labeled = [i for i, label in enumerate(marks) if label < len(self.basis)]
        pool = [i for i, label in enumerate(marks) if label >= len(self.basis)]
        cross_entropy = 0.0
        for i in labeled:
            partition = sum(math.exp(scale * logit) for logit in rows[i])
            cross_entropy -= math.log(math.exp(scale * rows[i][marks[i]]) / partition)
        if labeled:
            cross_entropy /= len(labeled)

        groups: dict[str, list[float]] = {"pos": [], "neg": []}
        for first, i in enumerate(pool):
            for j in pool[first + 1 :]:
                dot = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
                cosine = dot / (math.hypot(*rows[i]) * math.hypot(*rows[j]))
                groups["pos" if marks[i] == marks[j] else "neg"].append(cosine)
        for sign, values in groups.items():
            if values:
                mean = sum(values) / len(values)
                self.observe(f"mu_{sign}", mean)
                variance = sum((value - mean) ** 2 for value in values) / len(values)
                self.observe(f"var_{sign}", variance)
        distribution = 0.0
        if pool and "mu_pos" in self.running and "mu_neg" in self.running:
            gap = self.running["mu_neg"] - self.running["mu_pos"] + self.margin
            distribution += max(gap, 0.0)
        if pool:
            variances = self.running.get("var_pos", 0.0) + self.running.get("var_neg", 0.0)
            distribution += self.variance_weight * variances
        return cross_entropy, distribution


# ---------------------------------------------------------------- value


def test_embeddings_of_their_own_length_by_hand() -> None:
    """W_a = I, r = f = (2, 0), class 0: log(1 + exp(-2)); the cosine of the pool stays 1."""
    loss = FeatureBasisLoss(2, 2, **l_sd(margin=0.0), normalize_embeddings=False)
    with torch.no_grad():
        loss.W_a.copy_(torch.eye(2))
    embeddings = torch.tensor([[2.0, 0.0], [1.0, 0.0], [3.0, 0.0], [0.0, 5.0]])
    value = loss(embeddings, torch.tensor([0, 2, 2, 3]))
    assert float(value.detach()) == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)
    assert (loss.mu_pos, loss.mu_neg) == (1, 0)
    assert loss.responses(embeddings).tolist() == embeddings.tolist()


def test_value_by_hand() -> None:
    """W_a = I, so r = f. L_CE of r = (1, 0), class 0: log(e + 1) - 1 = log(1 + 1 / e).

    Pool (1, 0), (0, 1), (2, 0) with clusters 0, 1, 0: positive s = 1; negative s = 0, 0. Both
    variances are 0, L_SD = max(0 - 1 + 1.5, 0) = 0.5.
    """
    loss = FeatureBasisLoss(2, 2, **l_sd(margin=1.5))
    with torch.no_grad():
        loss.W_a.copy_(torch.eye(2))
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
    value = loss(embeddings, torch.tensor([0, 2, 3, 2]))
    assert value.item() == pytest.approx(math.log(1 + math.exp(-1)) + 0.5, abs=1e-6)
    assert terms_of(loss) == pytest.approx((math.log(1 + math.exp(-1)), 0.5), abs=1e-6)
    assert loss.running_means() == pytest.approx((1.0, 0.0), abs=1e-6)


@pytest.mark.parametrize("gradient_mode", ["batch", "running"])
def test_equals_the_loop_over_several_steps(gradient_mode: str) -> None:
    loss = make_loss(
        gradient_mode=gradient_mode,
        logit_scale=3.0,
        **l_sd(margin=0.8, variance_weight=0.5),
        momentum=0.7,
    )
    slow = SlowLoss(loss.W_a.detach(), 0.8, 0.5, 0.7)
    batches = [
        LABELS,
        torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]),  # no positive pair
        torch.tensor([0, 1, 2, 3, 3, 3, 3, 3]),  # no negative pair
        torch.tensor([0, 1, 2, 1, 0, 2, 1, 0]),  # no pool
        torch.tensor([3, 3, 4, 4, 5, 5, 6, 6]),  # no labeled row
        LABELS,
    ]
    for step, labels in enumerate(batches):
        embeddings = make_embeddings(step)
        value = loss(embeddings, labels)
        expected = slow(embeddings, labels, 3.0)
        assert terms_of(loss) == pytest.approx(expected, abs=1e-9), step
        assert value.item() == pytest.approx(sum(expected), abs=1e-9)
    found = (loss.mu_pos, loss.mu_neg, loss.var_pos, loss.var_neg)
    names = ("mu_pos", "mu_neg", "var_pos", "var_neg")
    assert found == pytest.approx(tuple(slow.running[name] for name in names), abs=1e-9)


# The batches of the next test: the usual one, one without positive pairs, one without negative.
BATCHES = [
    LABELS,
    torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]),
    torch.tensor([0, 1, 2] + [3] * 5),
    LABELS,
]


@pytest.mark.parametrize("choice", [LocalCE, GlobalCE])
def test_ablation_3_equals_the_loop_over_several_steps(choice: type[PairwiseLoss]) -> None:
    """Around the midpoint of the batch's means, or of those of Eq. 6 with beta = 0.7."""
    loss = make_loss(pairwise_loss=choice(scale=3.0), momentum=0.7)  # type: ignore[call-arg]
    running: dict[bool, float] = {}
    for step, labels in enumerate(BATCHES):
        embeddings = make_embeddings(step)
        value = loss(embeddings, labels)
        pool = [i for i in range(8) if labels[i] >= NUM_CLASSES]
        cosine = torch.nn.functional.normalize(loss.responses(embeddings).detach(), dim=1)
        pairs: dict[bool, list[float]] = {True: [], False: []}
        for i in pool:
            for j in pool[pool.index(i) + 1 :]:
                pairs[bool(labels[i] == labels[j])].append(float(cosine[i] @ cosine[j]))
        batch = {same: sum(values) / len(values) for same, values in pairs.items() if values}
        for same, mean in batch.items():
            running[same] = 0.3 * mean + 0.7 * running.get(same, mean)
        means = batch if choice is LocalCE else running
        expected = 0.0
        for same, values in pairs.items() if len(means) == 2 else ():
            sign = 1 if same else -1
            for s in values:
                logit = 3.0 * (s - sum(means.values()) / 2)
                expected += math.log(1 + math.exp(-sign * logit)) / len(values) / 2
        assert (expected > 0) is (len(batch) == 2 or choice is GlobalCE)
        assert terms_of(loss)[1] == pytest.approx(expected, abs=1e-9), step
        assert value.item() == pytest.approx(sum(terms_of(loss)), abs=1e-9)


@pytest.mark.parametrize("choice", [LocalCE, GlobalCE])
@pytest.mark.parametrize("center_responses", [False, True])
def test_ablation_3_leaves_the_state_to_mining_as_it_is(
    choice: type[PairwiseLoss], center_responses: bool
) -> None:
    """The Gaussians and the centre move as under L_SD."""
    losses = [
        make_loss(pairwise_loss=one(), center_responses=center_responses, momentum=0.6)
        for one in (SimilarityDistribution, choice)
    ]
    for step, labels in enumerate(BATCHES):
        for loss in losses:
            loss(make_embeddings(step), labels)
    first, second = (dict(loss.named_buffers()) for loss in losses)
    assert first["positive_updates"] == 3
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("choice", [LocalCE, GlobalCE])
def test_ablation_3_before_any_midpoint_is_known(choice: type[PairwiseLoss]) -> None:
    """No positive pair has been seen: a zero with a zero gradient."""
    loss = make_loss(pairwise_loss=choice())
    of_pool = BATCHES[1] >= NUM_CLASSES  # no gradient of L_CE
    loss(make_embeddings()[of_pool], BATCHES[1][of_pool]).backward()
    assert terms_of(loss)[1] == 0
    assert loss.W_a.grad is not None
    assert not loss.W_a.grad.any()


def pairwise_gradient(**kwargs: object) -> Tensor:
    """Gradient of the pairwise term in W_a on the second batch, beta = 0.99."""
    loss = make_loss(momentum=0.99, **kwargs)
    loss(make_embeddings(0), LABELS)
    loss.zero_grad()
    loss(make_embeddings(1)[3:], LABELS[3:]).backward()
    assert loss.W_a.grad is not None
    return loss.W_a.grad


def test_ablation_3_the_midpoint_s_gradient_is_that_of_the_gradient_mode() -> None:
    """Global-CE alone has a running midpoint; its modes differ by the midpoint's gradient."""
    local, local_running, batch, running = (
        pairwise_gradient(pairwise_loss=one(), gradient_mode=mode)
        for one in (LocalCE, GlobalCE)
        for mode in ("batch", "running")
    )
    torch.testing.assert_close(local_running, local)
    assert (batch - running).abs().max() > 1e-3


@pytest.mark.parametrize("choice", [LocalCE, GlobalCE])
def test_ablation_3_gradcheck(choice: type[PairwiseLoss]) -> None:
    """In the running mode the gradient is that of the value at any step."""
    loss = make_loss(pairwise_loss=choice(), gradient_mode="running", momentum=0.6)
    loss(make_embeddings(1), LABELS)
    loss.eval()

    def value(embeddings: Tensor, basis: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(loss, {"W_a": basis}, (embeddings, LABELS))
        return output

    basis = loss.W_a.detach().clone().requires_grad_()
    assert gradcheck(value, (make_embeddings().requires_grad_(), basis))


def test_weights_of_the_terms() -> None:
    plain = make_loss()
    plain(make_embeddings(), LABELS)
    first, second = terms_of(plain)
    weighted = make_loss(similarity_distribution_weight=4.0)
    value = weighted(make_embeddings(), LABELS).item()
    assert terms_of(weighted) == pytest.approx((first, 4.0 * second))
    assert value == pytest.approx(first + 4.0 * second)


def test_logit_scale_reaches_the_cross_entropy_alone() -> None:
    plain, scaled = make_loss(), make_loss(logit_scale=5.0)
    plain(make_embeddings(), LABELS)
    scaled(make_embeddings(), LABELS)
    assert terms_of(plain)[0] != pytest.approx(terms_of(scaled)[0])
    assert terms_of(plain)[1] == terms_of(scaled)[1]


def test_permutation_of_rows_changes_nothing() -> None:
    order = torch.tensor([4, 0, 7, 2, 6, 1, 3, 5])
    value = make_loss()(make_embeddings(), LABELS)
    permuted = make_loss()(make_embeddings()[order], LABELS[order])
    torch.testing.assert_close(value, permuted)


def test_length_of_embeddings_changes_nothing() -> None:
    value = make_loss()(make_embeddings(), LABELS)
    torch.testing.assert_close(make_loss()(9 * make_embeddings(), LABELS), value)


def test_names_of_clusters_change_nothing() -> None:
    renamed = torch.tensor([0, 2, 1, 40, 40, 7, 7, 3])
    value = make_loss()(make_embeddings(), LABELS)
    torch.testing.assert_close(make_loss()(make_embeddings(), renamed), value)


def test_similarity_distribution_is_zero_at_the_ideal() -> None:
    """Two clusters on two orthogonal responses: s = 1 and 0 without variance, margin 0.5."""
    loss = FeatureBasisLoss(2, 2)
    with torch.no_grad():
        loss.W_a.copy_(torch.eye(2))
    embeddings = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert loss(embeddings, torch.tensor([2, 2, 3, 3])).item() == pytest.approx(0.0, abs=1e-6)


def test_duplicates_have_no_variance_and_a_finite_gradient() -> None:
    loss = make_loss()
    embeddings = make_embeddings()[:1].repeat(8, 1).requires_grad_()
    loss(embeddings, LABELS).backward()
    assert loss.running_means() == pytest.approx((1.0, 1.0))
    assert (loss.var_pos, loss.var_neg) == pytest.approx((0.0, 0.0))
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


def test_eval_has_the_value_of_training_and_moves_nothing() -> None:
    loss = make_loss(momentum=0.5)
    loss(make_embeddings(0), LABELS)
    before = copy.deepcopy(loss.state_dict())
    value = loss.eval()(make_embeddings(1), LABELS)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())
    torch.testing.assert_close(loss.train()(make_embeddings(1), LABELS), value)
    assert not torch.equal(before["positive_mean"], loss.positive_mean)


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize("gradient_mode", ["batch", "running"])
@pytest.mark.parametrize("center_responses", [False, True])
def test_gradcheck_on_the_first_batch(gradient_mode: str, center_responses: bool) -> None:
    """On the first observation both modes are the batch statistics, so the gradient is exact."""
    loss = make_loss(gradient_mode=gradient_mode, **l_sd(margin=2.0))
    if center_responses:
        loss.center_responses = True
        loss.response_mean.copy_(torch.tensor([0.1, -0.2, 0.3]))
        loss.response_updates.fill_(1)
    loss.eval()

    def value(embeddings: Tensor, basis: Tensor) -> Tensor:
        output: Tensor = torch.func.functional_call(loss, {"W_a": basis}, (embeddings, LABELS))
        return output

    basis = loss.W_a.detach().clone().requires_grad_()
    assert gradcheck(value, (make_embeddings().requires_grad_(), basis))


def test_gradcheck_of_the_literal_equation_6() -> None:
    """In the running mode the gradient is that of the value, so it can be checked at any step."""
    loss = make_loss(gradient_mode="running", **l_sd(margin=2.0), momentum=0.6)
    loss(make_embeddings(1), LABELS)
    loss.eval()
    embeddings = make_embeddings().requires_grad_()
    assert gradcheck(lambda rows: loss(rows, LABELS), (embeddings,))


def test_trap_03_the_batch_mode_does_not_damp_the_gradient_into_the_basis() -> None:
    batch, running = (  # the hinge is active
        pairwise_gradient(gradient_mode=mode, **l_sd(margin=2.0)) for mode in ("batch", "running")
    )
    torch.testing.assert_close(running, 0.01 * batch)
    fresh = make_loss(**l_sd(margin=2.0))
    fresh(make_embeddings(1)[3:], LABELS[3:]).backward()
    torch.testing.assert_close(batch, fresh.W_a.grad)


def test_trap_03_both_modes_have_one_value() -> None:
    values = []
    for gradient_mode in ("batch", "running"):
        loss = make_loss(gradient_mode=gradient_mode)
        loss(make_embeddings(0), LABELS)
        values.append(loss(make_embeddings(1), LABELS).item())
    assert values[0] == pytest.approx(values[1], abs=1e-12)


def test_each_term_reaches_its_own_rows() -> None:
    for name, rows in (("cross_entropy", slice(3)), ("similarity_distribution", slice(3, 8))):
        loss = make_loss(**l_sd(margin=2.0))
        embeddings = make_embeddings().requires_grad_()
        loss.compute_loss(embeddings, LABELS)[name]["losses"].backward()
        assert embeddings.grad is not None
        touched = embeddings.grad.abs().sum(dim=1) > 0
        expected = torch.zeros(8, dtype=torch.bool)
        expected[rows] = True
        assert torch.equal(touched, expected)
        assert loss.W_a.grad is not None
        assert loss.W_a.grad.abs().sum() > 0


def test_detached_embeddings_train_the_basis_alone() -> None:
    """The warm-up of W_a."""
    loss, embeddings = make_loss(), make_embeddings().requires_grad_()
    loss(embeddings.detach(), LABELS).backward()
    assert embeddings.grad is None
    assert loss.W_a.grad is not None


def test_basis_is_the_only_parameter() -> None:
    loss = make_loss()
    assert [name for name, _ in loss.named_parameters()] == ["W_a"]
    assert sorted(name for name, _ in loss.named_buffers()) == [
        "negative_mean",
        "negative_updates",
        "negative_variance",
        "positive_mean",
        "positive_updates",
        "positive_variance",
        "response_mean",
        "response_updates",
    ]


@pytest.mark.parametrize("choice", [SimilarityDistribution, LocalCE, GlobalCE])
def test_gradient_descent_separates_the_gaussians(choice: type[PairwiseLoss]) -> None:
    """Two clusters, one direction each, drowned in a direction that all share."""
    generator = torch.Generator().manual_seed(3)
    embeddings = 0.3 * torch.randn(20, SIZE, generator=generator, dtype=torch.float64)
    embeddings[:, 0] += 2.0
    embeddings[:10, 1] += 1.0
    embeddings[10:, 2] += 1.0
    labels = torch.tensor([3] * 10 + [4] * 10)
    loss = make_loss(momentum=0.9, pairwise_loss=choice())
    optimizer = torch.optim.SGD(loss.parameters(), lr=0.5)
    values = []
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(embeddings, labels)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
    assert loss.mu_pos - loss.mu_neg > 0.5


# ---------------------------------------------------------------- what is missing


def test_only_labeled_rows() -> None:
    loss, embeddings = make_loss(), make_embeddings().requires_grad_()
    value = loss(embeddings, torch.tensor([0, 1, 2, 1, 0, 2, 1, 0]))
    value.backward()
    assert terms_of(loss)[0] == pytest.approx(value.item())
    assert terms_of(loss)[1] == 0.0
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()
    assert math.isnan(loss.mu_pos)
    assert int(loss.positive_updates) == int(loss.negative_updates) == 0


def test_only_pool_rows() -> None:
    loss, embeddings = make_loss(), make_embeddings().requires_grad_()
    value = loss(embeddings, torch.tensor([3, 3, 4, 4, 5, 5, 6, 6]))
    value.backward()
    assert terms_of(loss)[0] == 0.0
    assert terms_of(loss)[1] == pytest.approx(value.item())
    assert embeddings.grad is not None
    assert embeddings.grad.isfinite().all()


@pytest.mark.parametrize("labels", [[], [3]])
def test_nothing_to_learn_is_a_differentiable_zero(labels: list[int]) -> None:
    loss = make_loss()
    embeddings = make_embeddings(rows=len(labels)).requires_grad_()
    value = loss(embeddings, torch.tensor(labels, dtype=torch.int64))
    value.backward()
    assert value.item() == 0.0
    assert loss.W_a.grad is not None
    assert torch.equal(loss.W_a.grad, torch.zeros_like(loss.W_a))


def test_trap_04_each_gaussian_starts_from_its_own_first_observation() -> None:
    loss = make_loss(momentum=0.99)
    loss(make_embeddings(0), torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]))  # no positive pair
    assert math.isnan(loss.mu_pos)
    assert math.isnan(loss.var_pos)
    assert (int(loss.positive_updates), int(loss.negative_updates)) == (0, 1)
    negatives = loss.similarity(make_embeddings(0)[3:])[tuple(torch.triu_indices(5, 5, offset=1))]
    assert loss.mu_neg == pytest.approx(negatives.mean().item())
    before = loss.mu_neg

    loss(make_embeddings(1), torch.tensor([0, 1, 2, 3, 3, 3, 3, 3]))  # no negative pair
    positives = loss.similarity(make_embeddings(1)[3:])[tuple(torch.triu_indices(5, 5, offset=1))]
    assert loss.mu_pos == pytest.approx(positives.mean().item())  # not 0.01 of it
    assert loss.var_pos == pytest.approx(positives.var(unbiased=False).item())
    assert loss.mu_neg == before
    assert (int(loss.positive_updates), int(loss.negative_updates)) == (1, 1)


def test_trap_04_without_a_positive_pair_only_the_negative_variance_counts() -> None:
    loss = make_loss(**l_sd(margin=2.0, variance_weight=0.5))
    loss(make_embeddings(), torch.tensor([0, 1, 2, 3, 4, 5, 6, 7]))
    assert terms_of(loss)[1] == pytest.approx(0.5 * loss.var_neg)


def test_trap_04_an_observed_gaussian_counts_in_a_batch_without_its_pairs() -> None:
    loss = make_loss(**l_sd(margin=2.0), momentum=0.5)
    loss(make_embeddings(0), LABELS)
    mu_pos = loss.mu_pos
    embeddings = make_embeddings(1).requires_grad_()
    loss(embeddings, torch.tensor([0, 1, 2, 3, 4, 5, 6, 7])).backward()
    assert loss.mu_pos == mu_pos
    expected = loss.mu_neg - mu_pos + 2.0 + loss.var_pos + loss.var_neg
    assert terms_of(loss)[1] == pytest.approx(expected)
    assert embeddings.grad is not None
    assert embeddings.grad[3:].abs().sum() > 0  # the negative mean still learns


def test_the_running_means_are_unknown_until_they_are_seen() -> None:
    loss = make_loss()
    assert all(math.isnan(mean) for mean in loss.running_means())
    for mu_pos, mu_neg in ((0.2, 0.4), (0.4, 0.2)):
        loss.positive_mean.fill_(mu_pos)
        loss.negative_mean.fill_(mu_neg)
        loss.positive_updates.fill_(1)
        loss.negative_updates.fill_(1)
        assert loss.running_means() == pytest.approx((mu_pos, mu_neg))


# ---------------------------------------------------------------- wrong input


@pytest.mark.parametrize("labels", [[0, -1, 1, 3, 3, 4, 4, 5], [0, 2, 1, 3, 3, -1, -1, 5]])
def test_trap_09_a_negative_label_never_reaches_the_loss(labels: list[int]) -> None:
    loss = make_loss()
    with pytest.raises(DataError, match=r"label -1; expected class ids from 0 to 2"):
        loss(make_embeddings(), torch.tensor(labels))
    assert math.isnan(loss.mu_neg)


def test_trap_09_pseudo_labels_never_meet_class_ids() -> None:
    """Cluster 0 is label 3: no class of L_CE, and no pair with the labeled rows of class 0."""
    loss = make_loss()
    loss(make_embeddings(), LABELS)
    alone = make_loss()
    alone(make_embeddings()[3:], LABELS[3:])
    assert terms_of(loss)[1] == pytest.approx(terms_of(alone)[1])
    labeled = make_loss()
    labeled(make_embeddings()[:3], LABELS[:3])
    assert terms_of(loss)[0] == pytest.approx(terms_of(labeled)[0])


@pytest.mark.parametrize("poison", [math.nan, math.inf])
@pytest.mark.parametrize("row", [0, 5])
def test_nan_is_an_error_and_leaves_the_statistics_clean(poison: float, row: int) -> None:
    loss, embeddings = make_loss(center_responses=True), make_embeddings()
    loss(embeddings, LABELS)
    before = copy.deepcopy(loss.state_dict())
    embeddings[row, 1] = poison
    with pytest.raises(DataError, match=r"NaN or infinity.*learning rates"):
        loss(embeddings, LABELS)
    assert all(torch.equal(before[key], value) for key, value in loss.state_dict().items())


def test_nan_in_the_basis_is_an_error() -> None:
    loss = make_loss()
    with torch.no_grad():
        loss.W_a[0, 0] = math.nan
    with pytest.raises(DataError, match="W_a have diverged"):
        loss(make_embeddings(), LABELS)


def test_wrong_shapes_are_named() -> None:
    loss = make_loss()
    with pytest.raises(ShapeError, match=r"\(8, 3\); expected \(N, 4\). embedding_size must"):
        loss(make_embeddings()[:, :3], LABELS)
    with pytest.raises(ShapeError, match=r"labels of shape \(7,\)"):
        loss(make_embeddings(), LABELS[:7])
    with pytest.raises(ShapeError, match=r"dtype torch.float32; expected \(8,\) integers"):
        loss(make_embeddings(), LABELS.float())


def test_mined_pairs_are_refused() -> None:
    with pytest.raises(ConfigError, match="given an indices_tuple; expected none"):
        make_loss()(make_embeddings(), LABELS, (LABELS, LABELS, LABELS, LABELS))


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("num_classes", 1, "an integer >= 2"),
        ("num_classes", True, "an integer >= 2"),
        ("embedding_size", 0, "an integer >= 1"),
        ("embedding_size", 128.0, "an integer >= 1"),
        ("similarity_distribution_weight", "1e-3", "write 1.0e-3"),
        ("bias_correction", 0, "True or False"),
        ("momentum", 1.0, "a number in [0, 1)"),
        ("momentum", -0.1, "a number in [0, 1)"),
        ("momentum", math.nan, "a number in [0, 1)"),
        ("gradient_mode", "both", "one of batch, running"),
        ("gradient_mode", None, "one of batch, running"),
        ("pairwise_loss", "sd", "a PairwiseLoss"),
        ("logit_scale", 0, "a number > 0"),
        ("logit_scale", math.inf, "a number > 0"),
        ("normalize_embeddings", 1, "True or False"),
        ("center_responses", "yes", "True or False"),
        ("similarity_distribution_weight", None, "a number >= 0"),
        ("similarity_distribution_weight", -0.25, "a number >= 0"),
    ],
)
def test_wrong_configuration_is_named(key: str, value: object, expected: str) -> None:
    arguments: dict[str, object] = {"num_classes": 3, "embedding_size": 4, key: value}
    with pytest.raises(ConfigError) as error:
        FeatureBasisLoss(**arguments)  # type: ignore[arg-type]
    message = str(error.value)
    assert f"{key} is {value!r}" in message
    assert expected in message.partition(repr(value))[2]
    assert "config_loss under loss_funcs: basis_loss: FeatureBasisLoss" in message


def test_everything_wrong_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        FeatureBasisLoss(0, 0, momentum=9, reducer={}, distance={})
    for word in (
        "num_classes is 0",
        "embedding_size is 0",
        "momentum is 9",
        "distance is",
        "reducer",
    ):
        assert word in str(error.value)


@pytest.mark.parametrize("momentum", [0, 0.999])
def test_the_ends_of_the_ranges_are_allowed(momentum: float) -> None:
    loss = FeatureBasisLoss(2, 1, momentum=momentum, similarity_distribution_weight=0)
    assert (loss.momentum, loss.similarity_distribution_weight) == (momentum, 0)


# ---------------------------------------------------------------- the host


def test_the_host_will_pass_num_classes() -> None:
    """Its loss factory looks for the name in the signature of the constructor."""
    assert "num_classes" in str(inspect.signature(FeatureBasisLoss.__init__))


def test_the_basis_starts_as_a_linear_layer() -> None:
    torch.manual_seed(5)
    basis = FeatureBasisLoss(7, 16).W_a
    torch.manual_seed(5)
    linear = torch.nn.Linear(16, 7, bias=False)
    assert torch.equal(basis, linear.weight)


def test_regularizers_of_the_host_are_added() -> None:
    plain = make_loss()(make_embeddings(), LABELS)
    loss = make_loss(
        weight_regularizer=LpRegularizer(),
        weight_reg_weight=0.5,
        embedding_regularizer=LpRegularizer(),
        embedding_reg_weight=0.25,
    )
    expected = (
        plain + 0.5 * loss.W_a.norm(dim=1).mean() + 0.25 * make_embeddings().norm(dim=1).mean()
    )
    torch.testing.assert_close(loss(make_embeddings(), LABELS), expected)


def test_state_survives_saving(tmp_path: Path) -> None:
    loss = make_loss(center_responses=True)
    for seed in range(3):
        loss(make_embeddings(seed), LABELS)
    torch.save(loss.state_dict(), tmp_path / "basis_loss.pth")
    other = make_loss(seed=9, center_responses=True)
    other.load_state_dict(torch.load(tmp_path / "basis_loss.pth"))
    assert other.running_means() == loss.running_means()
    assert int(other.response_updates) == 3
    for _ in range(2):
        assert torch.equal(other(make_embeddings(7), LABELS), loss(make_embeddings(7), LABELS))
    assert other.running_means() == loss.running_means()


@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_copies_are_equal_and_apart(how: str) -> None:
    loss = make_loss()
    loss(make_embeddings(0), LABELS).backward()
    copied = copy.deepcopy(loss) if how == "deepcopy" else pickle.loads(pickle.dumps(loss))
    before = loss.running_means()
    assert copied.running_means() == before
    expected = loss.eval()(make_embeddings(1), LABELS)
    assert torch.equal(copied.train()(make_embeddings(1), LABELS), expected)
    assert copied.running_means() != before
    assert loss.running_means() == before


def test_records_of_every_iteration(tmp_path: Path) -> None:
    """The host's writer wants equally long columns; what is not yet observed is an empty cell."""
    keeper = RecordKeeper(
        record_writer=RecordWriter(str(tmp_path)),
        attributes_to_search_for=list_of_recordable_attributes_list_names(),
    )
    loss = make_loss()
    batches = [torch.tensor([0, 1, 2, 1, 0, 2, 1, 0]), LABELS, LABELS]
    expected = []
    for iteration, labels in enumerate(batches):
        loss(make_embeddings(iteration), labels)
        keeper.update_records({"basis_loss": loss}, iteration, recursive_types=[torch.nn.Module])
        expected.append((loss.mu_pos, *terms_of(loss)))
        assert type(loss.mu_pos) is float
    keeper.save_records()

    table = keeper.query("SELECT * FROM basis_loss_FeatureBasisLoss", return_dict=True)
    assert set(table) >= {"mu_pos", "mu_neg", "var_pos", "var_neg"}
    assert table["mu_pos"] == [None, pytest.approx(expected[1][0]), pytest.approx(expected[2][0])]
    prefix = "basis_loss_FeatureBasisLoss_reducer_MultipleReducers_reducers"
    for position, name in ((1, "cross_entropy"), (2, "similarity_distribution")):
        query = f"SELECT * FROM {prefix}_{name}_MeanReducer"
        found = keeper.query(query, return_dict=True)[name]
        assert found == pytest.approx([row[position] for row in expected])


# ---------------------------------------------------------------- centring and precision


def test_centring_is_off_until_a_pool_batch_was_seen() -> None:
    loss, plain = make_loss(center_responses=True), make_loss()
    assert torch.equal(loss.similarity(make_embeddings()), plain.similarity(make_embeddings()))
    loss(make_embeddings()[:3], LABELS[:3])
    assert int(loss.response_updates) == 0


def test_centring_uses_the_running_mean_of_the_pool_responses() -> None:
    loss = make_loss(center_responses=True, momentum=0.75)
    loss(make_embeddings(0), LABELS)
    first = loss.responses(make_embeddings(0)[3:]).mean(dim=0)
    torch.testing.assert_close(loss.response_mean, first.detach())
    loss(make_embeddings(1), LABELS)
    second = loss.responses(make_embeddings(1)[3:]).mean(dim=0)
    expected = (0.25 * second + 0.75 * first).detach()
    torch.testing.assert_close(loss.response_mean, expected)
    centred = loss.responses(make_embeddings(2)) - expected
    cosine = torch.nn.functional.cosine_similarity(centred[0], centred[1], dim=0)
    torch.testing.assert_close(loss.similarity(make_embeddings(2))[0, 1], cosine)


def test_centring_takes_a_common_direction_away() -> None:
    """A direction shared by all images makes every cosine nearly 1; centred they spread."""
    shared = make_embeddings() + torch.tensor([20.0, 0.0, 0.0, 0.0])
    plain, centred = make_loss(), make_loss(center_responses=True)
    plain(shared, LABELS)
    centred(shared, LABELS)
    assert plain.mu_neg > 0.95
    assert centred.mu_neg < 0.5


def test_without_centring_the_response_mean_is_not_kept() -> None:
    loss = make_loss()
    loss(make_embeddings(), LABELS)
    assert int(loss.response_updates) == 0
    cosine = pairwise_cosine(loss.responses(make_embeddings()))
    assert torch.equal(loss.similarity(make_embeddings()), cosine)


def test_trap_05_autocast_changes_nothing() -> None:
    plain, inside = make_loss().float(), make_loss().float()
    embeddings = make_embeddings().float()
    expected = plain(embeddings, LABELS)
    with torch.autocast(device_type="cpu", dtype=torch.bfloat16):
        value = inside(embeddings, LABELS)
        similarity = inside.similarity(embeddings)
    assert value.dtype == similarity.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(similarity, plain.similarity(embeddings))
    assert plain.running_means() == inside.running_means()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trap_05_half_precision_embeddings_are_widened(dtype: torch.dtype) -> None:
    loss, widened = make_loss().float(), make_loss().float()
    embeddings = make_embeddings().to(dtype).requires_grad_()
    value = loss(embeddings, LABELS)
    assert value.dtype == torch.float32
    assert torch.equal(value, widened(embeddings.detach().float(), LABELS))
    value.backward()
    assert embeddings.grad is not None
    assert embeddings.grad.dtype == dtype
    assert loss.positive_mean.dtype == torch.float32


# ---------------------------------------------------------------- correction for the start


@pytest.mark.parametrize("center_responses", [False, True])
def test_bias_correction_is_adams(center_responses: bool) -> None:
    """An average from zero, divided by 1 - beta ** t, for every statistic."""
    beta = 0.9
    loss = make_loss(bias_correction=True, momentum=beta, center_responses=center_responses)
    alone = [make_loss() for _ in range(5)]
    averages: dict[str, float | Tensor] = {}
    for step, one in enumerate(alone):
        embeddings = make_embeddings(step)
        loss(embeddings, LABELS)
        batch: dict[str, float | Tensor] = {}
        if center_responses:
            batch["response_mean"] = one.responses(embeddings[3:]).mean(dim=0).detach()
            one.center_responses = True
            one.response_mean.copy_(loss.response_mean)
            one.response_updates.fill_(1)
            one.eval()  # keeps the center
            similarity = one.similarity(embeddings[3:]).detach()
            values = [similarity[i, j] for i, j in ((0, 1), (2, 3))]
            batch["positive_mean"] = sum(values) / 2
        else:
            one(embeddings, LABELS)
            for name in ("positive_mean", "negative_mean", "positive_variance"):
                batch[name] = one.get_buffer(name).clone()
        for name, value in batch.items():
            averages[name] = beta * averages.get(name, 0.0) + (1 - beta) * value
            corrected = averages[name] / (1 - beta ** (step + 1))
            torch.testing.assert_close(loss.get_buffer(name), corrected)


def test_bias_correction_forgets_the_first_batch_sooner() -> None:
    """After two batches both weigh nearly the same; uncorrected, the first weighs 0.99."""
    seen = [make_loss(), make_loss()]
    for step, loss in enumerate(seen):
        loss(make_embeddings(step), LABELS)
    first, second = (loss.mu_pos for loss in seen)
    for corrected, weight in ((True, 0.99 / 1.99), (False, 0.99)):
        loss = make_loss(bias_correction=corrected)
        loss(make_embeddings(0), LABELS)
        loss(make_embeddings(1), LABELS)
        assert loss.mu_pos == pytest.approx(weight * first + (1 - weight) * second)


def test_state_of_an_earlier_version_is_read() -> None:
    """Whose keys were these, without options that came later."""
    signs = [f"{s}_{name}" for s in ("positive", "negative") for name in ("mean", "variance")]
    state = {name: torch.rand(()) for name in signs} | {
        "W_a": torch.rand(NUM_CLASSES, SIZE),
        "positive_updates": torch.tensor(3),
        "negative_updates": torch.tensor(4),
        "response_mean": torch.rand(NUM_CLASSES),
        "response_updates": torch.tensor(5),
    }
    loss = FeatureBasisLoss(NUM_CLASSES, SIZE, bias_correction=True)
    loss.load_state_dict(state)
    assert loss.mu_pos == float(state["positive_mean"])


# ---------------------------------------------------------------- the pool's similarity


def test_the_similarity_of_the_pool_is_kept_for_the_miner() -> None:
    loss = make_loss(center_responses=True)
    assert loss.pool_similarity is None
    loss(make_embeddings(), LABELS)
    assert loss.pool_similarity is not None
    assert not loss.pool_similarity.requires_grad
    torch.testing.assert_close(loss.pool_similarity, loss.similarity(make_embeddings()[3:]))
    loss(make_embeddings()[:3], LABELS[:3])
    assert loss.pool_similarity is None
    assert "pool_similarity" not in loss.state_dict()
