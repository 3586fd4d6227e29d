"""Several GPUs: the host wraps models in `DataParallel`, and every stage works so.

Two pretended GPUs share the CPU. Scattering and gathering are stood in for; the copies of the
models are made by torch's own `replicate`, which is where a model may turn out unfit.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import replicate

from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.host.api_parsers.computed_trunk import computed
from slade_plugin.host.testers import SladeTester
from slade_plugin.method.models import TorchvisionTrunk, conv4

GPUS = [0, 1]


def _broadcast(tensors: Sequence[Tensor], devices: Any, detach: bool = False) -> list[list[Tensor]]:
    """Copies for each device, through which gradients flow; buffers of the first are shared."""
    first = [t.detach() if detach else t.clone() for t in tensors]
    return [first, [t.detach().clone() if detach else t.clone() for t in tensors]]


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The classes of the models that each of two replicas has computed."""
    computed_by: list[str] = []

    def forward(self: nn.DataParallel[Any], batch: Tensor) -> Tensor:
        parts = batch.chunk(len(GPUS))
        replicas = replicate(self.module, GPUS[: len(parts)], not torch.is_grad_enabled())
        outputs = [replica(part) for replica, part in zip(replicas, parts, strict=False)]
        computed_by.append(type(self.module).__name__)
        return torch.cat(outputs)

    # The attribute of the package is the function, which hides the module.
    module = sys.modules["torch.nn.parallel.replicate"]
    monkeypatch.setattr(module, "_broadcast_coalesced_reshape", _broadcast)
    monkeypatch.setattr(nn.DataParallel, "forward", forward)
    return computed_by


@pytest.mark.parametrize(
    "compute", [{}, {"precision": "bfloat16"}, {"channels_last": True}], ids=str
)
@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: conv4(hidden_size=8, image_size=16), (1, 16, 16)),
        pytest.param(
            lambda: TorchvisionTrunk("resnet18", weights=None), (3, 32, 32), marks=pytest.mark.slow
        ),
    ],
    ids=["conv4", "torchvision"],
)
def test_replicas_compute_with_their_own_copies(
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    compute: dict[str, Any],
    two_gpus: list[str],
) -> None:
    torch.manual_seed(0)
    trunk = computed(make(), ComputeSettings(**compute)).eval()
    images = torch.randn(5, *shape)
    parallel = nn.DataParallel(trunk)(images)
    assert len(two_gpus) == 1
    torch.testing.assert_close(parallel, trunk(images), rtol=1e-2, atol=1e-2)
    parallel.sum().backward()
    assert all(p.grad is not None for p in trunk.parameters())
    # A replica that called the original's forward would not see that its own weights are zero.
    replicas = replicate(trunk, GPUS)
    for part in replicas[1].modules():
        for name in getattr(part, "_former_parameters", {}):
            setattr(part, name, torch.zeros_like(getattr(part, name)))
    outputs = [replica(images) for replica in replicas]
    torch.testing.assert_close(outputs[0], trunk(images), rtol=1e-2, atol=1e-2)
    assert not outputs[1].any()


@pytest.mark.slow
def test_every_stage_runs(
    bench: Any, tmp_path: Path, two_gpus: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And so does a second round, whose teacher is a student that was trained so."""
    embed_pool, embedders = SladeTester.embed_pool, []

    def embed(self: SladeTester, pool: Any, *models: Any) -> Any:
        embedders.extend(models[:2])
        return embed_pool(self, pool, *models)

    monkeypatch.setattr(SladeTester, "embed_pool", embed)
    outcome = bench(bench.tiny_student(), "--rounds 2", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert set(two_gpus) == {"conv4", "MLP"}
    assert [type(model) for model in embedders] == [nn.DataParallel] * 4
    checkpoints = bench.tensors(tmp_path / "slade_seed0")
    names = {key for path, state in checkpoints.items() if "trunk" in path for key in state}
    assert names
    assert not any(name.startswith("module.") for name in names)
