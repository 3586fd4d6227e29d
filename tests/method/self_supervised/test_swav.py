"""lightly's parts put together: the loss is the paper's, and training can be stopped any time."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slade_plugin.base.errors import CheckpointError, ExperimentError
from slade_plugin.method.self_supervised.settings import SwAVSettings
from slade_plugin.method.self_supervised.swav import SwAV, SwAVTraining, lr_factor

FEATURES = 6


def settings(**changes: Any) -> SwAVSettings:
    small = {
        "num_epochs": 3, "batch_size": 4, "num_prototypes": 5, "projection_hidden_size": 7,
        "projection_size": 3, "queue_length": 6, "queue_start_epoch": 1,
        "optimizer": {"SGD": {"lr": 0.1}}, "frozen_prototype_epochs": 1,
    }  # fmt: skip
    return SwAVSettings(**small | changes)


def make(seed: int = 0, **changes: Any) -> SwAV:
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Flatten(), nn.LazyLinear(FEATURES), nn.BatchNorm1d(FEATURES))
    trunk(torch.randn(2, 4))
    return SwAV(trunk, FEATURES, settings(**changes), num_code_views=2)


def batch(seed: int = 0, views: int = 4, size: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 4, generator=generator) for _ in range(views)]


# ---- the loss -----------------------------------------------------------------------------------


def sinkhorn(scores: np.ndarray, epsilon: float, iterations: int) -> np.ndarray:
    """The paper's appendix, loop by loop: rows are prototypes, each of weight 1/K, 1/B an image."""
    q = np.exp(scores.T / epsilon)
    q /= q.sum()
    for _ in range(iterations):
        for k in range(q.shape[0]):
            q[k] /= q[k].sum() * q.shape[0]
        for b in range(q.shape[1]):
            q[:, b] /= q[:, b].sum() * q.shape[1]
    return q.T * q.shape[1]


def slow_loss(scores: list[np.ndarray], queued: list[np.ndarray] | None, s: SwAVSettings) -> float:
    """Each of the first two views gives codes, and every other view predicts them."""
    total = 0.0
    for i in range(2):
        rows = scores[i] if queued is None else np.concatenate([scores[i], queued[i]])
        codes = sinkhorn(rows, s.epsilon, s.sinkhorn_iterations)[: len(scores[i])]
        of_view = 0.0
        for v, other in enumerate(scores):
            if v == i:
                continue
            for n in range(len(other)):
                exponents = np.exp(other[n] / s.temperature)
                of_view -= sum(codes[n] * np.log(exponents / exponents.sum())) / len(other)
        total += of_view / (len(scores) - 1)
    return total / 2


def scores_of(swav: SwAV, view: Tensor) -> np.ndarray:
    """Cosines to the prototypes, from the weights alone."""
    with torch.no_grad():
        embeddings = swav.projection_head(swav.trunk(view)).double().numpy()
    prototypes = swav.prototypes.heads[0].weight.detach().double().numpy()
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return embeddings @ (prototypes / np.linalg.norm(prototypes, axis=1, keepdims=True)).T


def test_the_loss_is_the_paper_s() -> None:
    swav = make(queue_length=0).eval()
    views = batch()
    expected = slow_loss([scores_of(swav, v) for v in views], None, swav.settings)
    assert swav(views, epoch=1).item() == pytest.approx(expected, rel=1e-4)


def test_the_queue_takes_part_in_the_codes_once_it_is_full_and_in_use() -> None:
    """Length 6, batches of 4: full after two batches, which then are the newest 4 and 2 older."""
    swav = make().eval()
    losses = [swav(batch(seed), epoch=1).item() for seed in range(2)]
    plain = make(queue_length=0).eval()
    assert losses == [plain(batch(seed), epoch=1).item() for seed in range(2)]
    held = [queue.bank.clone() for queue in swav.queues]
    views = batch(2)
    assert make(queue_length=0).eval()(views, 1).item() == pytest.approx(
        slow_loss([scores_of(swav, v) for v in views], None, swav.settings), rel=1e-4
    )
    prototypes = swav.prototypes.heads[0].weight.detach().double().numpy()
    queued = [bank.double().numpy() @ prototypes.T for bank in held]
    expected = slow_loss([scores_of(swav, v) for v in views], queued, swav.settings)
    assert swav(views, epoch=2).item() == pytest.approx(expected, rel=1e-4)


def test_the_queue_is_not_used_before_its_epoch() -> None:
    swav, plain = make(queue_start_epoch=2).eval(), make(queue_length=0).eval()
    for seed in range(4):
        assert swav(batch(seed), epoch=2).item() == plain(batch(seed), epoch=2).item()
    assert swav(batch(4), epoch=3).item() != plain(batch(4), epoch=3).item()


def test_views_of_another_size_give_no_codes_but_predict_them() -> None:
    trunk = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Linear(4, FEATURES))
    torch.manual_seed(0)
    swav = SwAV(trunk, FEATURES, settings(queue_length=0), num_code_views=2).eval()
    views = [torch.randn(4, 8), torch.randn(4, 8), torch.randn(4, 4)]
    expected = slow_loss([scores_of(swav, v) for v in views], None, swav.settings)
    assert swav(views, epoch=1).item() == pytest.approx(expected, rel=1e-4)


def test_prototypes_are_unit_vectors_without_bias_and_frozen_at_the_start() -> None:
    swav = make()
    (head,) = swav.prototypes.heads
    swav(batch(), epoch=1).backward()
    assert head.weight.grad is None
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(5))
    swav(batch(), epoch=2).backward()
    assert head.weight.grad is not None
    assert not head.bias.any()
    assert head.bias.grad is None


def test_every_parameter_but_the_biases_of_the_prototypes_is_trained() -> None:
    swav = make()
    trained = {id(p) for p in swav.trained_parameters()}
    left = [name for name, p in swav.named_parameters() if id(p) not in trained]
    assert left == ["prototypes.heads.0.bias"]


# ---- the learning rate --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (6, 0.1 + 0.9 / 2), (8, 0.1)],
)
def test_the_learning_rate_rises_and_falls(step: int, factor: float) -> None:
    """9 steps: 4 of rise, then half a cosine from 1 over 5 steps; its middle is the mean."""
    assert lr_factor(step, total=9, warmup=4, final=0.1) == pytest.approx(factor)


def test_a_run_of_nothing_but_warm_up_and_one_of_one_step() -> None:
    assert [lr_factor(s, 2, 2, 0.1) for s in range(2)] == [0.5, 1.0]
    assert lr_factor(0, 1, 0, 0.1) == 1.0


# ---- training -----------------------------------------------------------------------------------


class NoisyPoints:
    """Two clusters; a view is a point with noise, drawn from the global generators."""

    def __init__(self, length: int = 18) -> None:
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> list[Tensor]:
        centre = torch.tensor([3.0, 0, 0, 0]) if index % 2 else torch.tensor([0, 3.0, 0, 0])
        noise = float(np.random.normal())  # noqa: NPY002 - as lightly's blur draws
        return [centre + torch.randn(4) + 0.1 * noise for _ in range(3)]


def train(
    path: Path, seed: int = 0, length: int = 18, lr: float = 0.1, **changes: Any
) -> SwAVTraining:
    return SwAVTraining(
        make(**changes),
        NoisyPoints(length),
        lambda parameters: torch.optim.SGD(parameters, lr=lr, momentum=0.9),
        seed,
        path / "checkpoint.pth",
        {"settings": settings(**changes).settings()},
    )


def content(training: SwAVTraining) -> dict[str, Any]:
    return {
        **training.swav.state_dict(),
        **{f"bank{i}": queue.bank for i, queue in enumerate(training.swav.queues)},
    }


def same(first: SwAVTraining, second: SwAVTraining) -> bool:
    a, b = content(first), content(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses(training: SwAVTraining) -> list[float]:
    return [epoch["loss"] for epoch in training.history]


def nothing(history: list[dict[str, float]]) -> None:
    """Takes the history and leaves it."""


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "a", tmp_path / "b"
    for path in paths:
        path.mkdir()
    return paths


def test_training_tells_the_clusters_apart(tmp_path: Path) -> None:
    small = {"num_epochs": 6, "batch_size": 32, "num_prototypes": 2, "queue_length": 0}
    training = train(tmp_path, length=128, lr=0.02, **small)
    training.run("blobs", nothing)
    assert losses(training)[-1] < 0.8 * losses(training)[0]
    points = torch.stack([NoisyPoints()[i][0] for i in range(18)])
    prototype = scores_of(training.swav.eval(), points).argmax(axis=1)
    assert len(set(prototype[::2])) == len(set(prototype[1::2])) == 1
    assert prototype[0] != prototype[1]


def test_an_incomplete_last_batch_is_left_out(tmp_path: Path) -> None:
    assert train(tmp_path).steps_per_epoch == 4  # 18 images, 4 a step


def test_a_seed_gives_one_result_and_another_seed_another(folders: tuple[Path, Path]) -> None:
    first, second = (train(folder) for folder in folders)
    first.run("", nothing)
    torch.rand(3)  # whatever else was drawn
    second.run("", nothing)
    assert same(first, second)
    other = train(folders[0] / "..", seed=1)
    other.run("", nothing)
    assert not same(first, other)


@pytest.mark.parametrize("stop_at", [1, 4, 6, 11])
def test_stopped_and_resumed_is_bit_for_bit_the_whole_run(
    stop_at: int, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 1 is in the first epoch, before any checkpoint, step 4 is the first of the second."""
    whole = train(folders[0])
    whole.run("", nothing)
    stopped = train(folders[1])
    forward = stopped.swav.forward
    calls = [0]

    def interrupted(*args: Any) -> Tensor:
        calls[0] += 1
        if calls[0] > stop_at:
            raise KeyboardInterrupt
        return forward(*args)

    monkeypatch.setattr(stopped.swav, "forward", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stopped.run("", nothing)
    resumed = train(folders[1])
    assert len(resumed.history) == stop_at // 4
    resumed.run("", nothing)
    assert same(whole, resumed)
    assert losses(whole) == losses(resumed)
    momenta = [
        [state["momentum_buffer"] for state in t.optimizer.state_dict()["state"].values()]
        for t in (whole, resumed)
    ]
    assert all(map(torch.equal, *momenta))


def test_what_comes_after_an_epoch_is_told_the_history(tmp_path: Path) -> None:
    lengths: list[int] = []
    training = train(tmp_path)
    training.run("", lambda history: lengths.append(len(history)))
    assert lengths == [0, 1, 2, 3]
    again = train(tmp_path)
    again.run("", lambda history: lengths.append(len(history)))
    assert lengths[4:] == [3]


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    training = train(tmp_path)
    with torch.no_grad():
        training.swav.trunk.module[1].weight.fill_(math.nan)
    with pytest.raises(ExperimentError, match=r"loss of SwAV is nan at step 0 \(epoch 1\)"):
        training.run("", nothing)
    assert not (tmp_path / "checkpoint.pth").exists()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def another_format(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True) | {"format": 0}, path)


@pytest.mark.parametrize(
    ("harm", "text"), [(damage, "cannot be read"), (another_format, "was made with other settings")]
)
def test_a_bad_checkpoint_is_named(harm: Callable[[Path], None], text: str, tmp_path: Path) -> None:
    train(tmp_path, num_epochs=1).run("", nothing)
    harm(tmp_path / "checkpoint.pth")
    with pytest.raises(CheckpointError, match=rf"{text}.*Remove "):
        train(tmp_path, num_epochs=1)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(tmp_path, num_epochs=1).run("", nothing)
    with pytest.raises(CheckpointError, match="was made with other settings"):
        train(tmp_path, num_epochs=2)
