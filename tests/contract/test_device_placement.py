"""Whether every tensor is where a GPU would want it, found out without one.

`PretendedGPU` computes on the CPU but keeps count of what was moved. Its device is called "meta",
which torch knows everywhere and for which no kernel is asked here.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from benchmarks.student_step import make_trainers
from benchmarks.synthetic import SyntheticImages, make_models
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE, LABEL
from slade_plugin.host.testers import SladeTester

GPU = torch.device("meta")
_aten = torch.ops.aten
# These move tensors, or take places from the CPU.
_MIXED = (
    _aten._to_copy.default, _aten.copy_.default,
    _aten.index.Tensor, _aten.index_put.default, _aten.index_put_.default,
)  # fmt: skip


class Moved(torch.Tensor):
    """A tensor on the pretended device; what it holds is on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> "Moved":
        tensor = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=GPU,
        )
        tensor.inner = inner
        return tensor

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class PretendedGPU(TorchDispatchMode):
    """Refuses operations on tensors of both devices, as CUDA does; numbers may be on either."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat, spec = tree_flatten((args, kwargs))
    moved = [t for t in flat if isinstance(t, Moved)]
    left = [t for t in flat if isinstance(t, torch.Tensor) and not isinstance(t, Moved) and t.dim()]
    if moved and left and func not in _MIXED:
        raise RuntimeError(f"{func}: {len(moved)} tensors on the GPU, {len(left)} on the CPU")
    target = kwargs.get("device")
    args, kwargs = tree_unflatten([t.inner if isinstance(t, Moved) else t for t in flat], spec)
    if target is not None:
        kwargs["device"] = torch.device("cpu")
    result = func(*args, **kwargs)
    if not (bool(moved) if target is None else torch.device(target) == GPU):
        return result
    known = {id(t.inner): t for t in moved}  # an operation in place gives back its argument

    def wrapped(found: Any) -> Any:
        if not isinstance(found, torch.Tensor):
            return found
        return known[id(found)] if id(found) in known else Moved(found)

    return tree_map(wrapped, result)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The pretended GPU; parameters keep their identity when they are moved, as on a real one."""
    # There is no autocast for "meta"; it is off in all that is tried here.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    torch.__future__.set_swap_module_params_on_conversion(True)
    with PretendedGPU():
        yield
    torch.__future__.set_swap_module_params_on_conversion(False)


@pytest.mark.usefixtures("gpu")
def test_the_pretended_gpu_refuses_what_cuda_refuses() -> None:
    here, there = torch.ones(3), torch.ones(3).to(GPU)
    assert (there.device, here.device.type) == (GPU, "cpu")
    assert torch.zeros(2, device=GPU).device == GPU
    with pytest.raises(RuntimeError, match="1 tensors on the GPU, 1 on the CPU"):
        here + there
    assert (there + torch.tensor(2.0)).cpu().tolist() == [3, 3, 3]
    assert there.sum().item() == 3
    there += 1
    assert (there.cpu() == 2).all()
    with pytest.raises((TypeError, RuntimeError)):
        there.numpy()


@pytest.mark.usefixtures("gpu")
def test_a_step_of_the_student() -> None:
    """Parts are moved after the optimizers are made, in the host's order."""
    _, student = make_trainers("conv4", 32, torch.device("cpu"))
    student.data_device = GPU
    for parts in (student.models, student.loss_funcs, student.mining_funcs):
        for part in parts.values():
            part.to(GPU)
    before = [p.detach().clone() for p in student.models["trunk"].parameters()]
    for group in student.optimizers["trunk_optimizer"].param_groups:
        group["lr"] = 0.01
    student.basis_warmup_iterations = 1
    for student.iteration in range(2):
        student.forward_and_backward()
    for loss in student.losses.values():
        assert loss.device == GPU
        assert np.isfinite(loss.item())
    for old, new in zip(before, student.models["trunk"].parameters(), strict=True):
        assert new.device == GPU
        assert not torch.equal(old, new.detach())


@pytest.mark.usefixtures("gpu")
def test_evaluation_and_the_pool_are_embedded_on_the_gpu(tmp_path: Path) -> None:
    models = make_models("conv4", 32, torch.device("cpu"))
    tester = SladeTester(
        batch_size=4,
        dataloader_num_workers=0,
        data_device=torch.device("cpu"),
        data_and_label_getter=lambda item: (item[IMAGE], item[LABEL]),
    )
    images = SyntheticImages(np.arange(10) % 3, 1, 32, seed=0)
    expected, _ = tester.get_all_embeddings(images, models["trunk"], models["embedder"])
    tester.data_device = GPU
    for model in models.values():
        model.to(GPU)
    pool = tester.embed_pool(images, models["trunk"], models["embedder"], tmp_path / "pool.npy")
    evaluated, labels = tester.get_all_embeddings(images, models["trunk"], models["embedder"])
    np.testing.assert_allclose(pool, expected, atol=1e-6)
    np.testing.assert_allclose(evaluated, expected, atol=1e-6)
    assert labels[:, 0].tolist() == images.labels.tolist()
