"""The entry `compute`: the same weights under the same names, computed in another way."""

import copy
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from powerful_benchmarker.api_parsers import BaseAPIParser
from torch import nn

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.host.api_parsers.computed_trunk import computed
from slade_plugin.method.models import conv4
from tests.pipeline_runs import RESUME, STEP, assert_equal_experiments, raise_at

OPTIONS = {
    "precision": {"precision": "bfloat16"},
    "channels_last": {"channels_last": True},
    "compile": {"compile": "eager"},
    "all": {"precision": "bfloat16", "channels_last": True, "compile": "aot_eager"},
}
some_compile = pytest.mark.parametrize(
    "option",
    [
        "precision",
        "channels_last",
        pytest.param("compile", marks=pytest.mark.slow),
        pytest.param("all", marks=pytest.mark.slow),
    ],
)


@pytest.fixture
def trunk() -> nn.Module:
    torch.manual_seed(0)
    trunk = conv4(hidden_size=8, image_size=16)
    trunk.fc = nn.Identity()
    return trunk.to(memory_format=torch.contiguous_format)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(1))


def test_the_defaults_leave_a_trunk_as_it_is(trunk: nn.Module) -> None:
    assert computed(trunk, ComputeSettings()) is trunk
    assert type(trunk) is conv4
    assert "forward" not in vars(trunk)


@some_compile
def test_outputs_and_gradients_are_close_to_float32(
    option: str, trunk: nn.Module, images: torch.Tensor
) -> None:
    plain = copy.deepcopy(trunk)
    settings = ComputeSettings(**OPTIONS[option])
    assert computed(trunk, settings) is trunk
    assert isinstance(trunk, conv4)
    reduced = settings.precision == "bfloat16"
    tolerance: dict[str, float] = {"rtol": 0.05, "atol": 0.05} if reduced else {}
    outputs = [model(images) for model in (trunk, plain)]
    assert outputs[0].dtype == torch.float32
    torch.testing.assert_close(*outputs, **tolerance)
    if reduced:
        assert not torch.equal(*outputs)
    for output in outputs:
        output.square().mean().backward()
    for one, other in zip(trunk.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None
        assert one.dtype == one.grad.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(
            one.grad.flatten(), other.grad.flatten(), dim=0
        ) > (0.95 if reduced else 0.9999)
    for model in (trunk.eval(), plain.eval()):
        with torch.no_grad():
            outputs.append(model(images[:2]))  # another batch size, and no gradient
    torch.testing.assert_close(*outputs[2:], **tolerance)


def test_channels_last_reaches_weights_and_images(trunk: nn.Module, images: torch.Tensor) -> None:
    seen = []
    last = torch.channels_last
    computed(trunk, ComputeSettings(channels_last=True))
    trunk.blocks.register_forward_pre_hook(lambda _, inputs: seen.extend(inputs))
    trunk(images.expand(-1, -1, -1, -1))
    assert seen[0].is_contiguous(memory_format=last)
    assert all(p.is_contiguous(memory_format=last) for p in trunk.parameters() if p.dim() == 4)


@some_compile
def test_checkpoints_are_interchangeable(option: str, trunk: nn.Module, tmp_path: Path) -> None:
    plain = copy.deepcopy(trunk)
    computed(trunk, ComputeSettings(**OPTIONS[option]))
    assert list(trunk.state_dict()) == list(plain.state_dict())
    for source, target in ((trunk, plain), (plain, trunk)):
        for parameter in source.parameters():
            nn.init.normal_(parameter)
        torch.save(source.state_dict(), tmp_path / "trunk.pth")
        target.load_state_dict(torch.load(tmp_path / "trunk.pth", weights_only=True))
        for one, other in zip(source.parameters(), target.parameters(), strict=True):
            assert torch.equal(one, other)


def test_several_gpus_cannot_share_a_compiled_trunk(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    args = experiment_args(tmp_path / "run", student=False, compute={"compile": True})
    with pytest.raises(ConfigError, match=r"sees 2 GPUs.* \(CUDA_VISIBLE_DEVICES=0\)"):
        make_parser(args, BaseAPIParser)
    args.compute = {"precision": "bfloat16"}
    make_parser(args, BaseAPIParser)


def test_a_trunk_is_the_only_part_that_changes(
    tmp_path: Path, experiment_args: Callable[..., Namespace], make_parser: Callable[..., Any]
) -> None:
    """Whichever way the host asks its model factory; without the entry it asks the class's own."""
    args = experiment_args(tmp_path / "run", student=False, compute={"precision": "bfloat16"})
    parser = make_parser(args, BaseAPIParser)
    assert parser.get_trunk().compute == ComputeSettings("bfloat16")
    assert not hasattr(parser.get_embedder(), "compute")
    args.compute = None
    factory = make_parser(args, BaseAPIParser).factories["model"]
    assert "create" not in vars(factory)


# ---- whole runs ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_all_stages_compute_so_and_resume_exactly(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Teacher, pseudo labels, student and baseline; stopped in the student's second epoch."""
    flags = "--compute {precision: bfloat16, channels_last: True, compile: eager}"
    command = f"{bench.tiny_student(epochs=2, iterations=2)} {flags}"
    assert {args.compute["precision"] for args in bench.stages(command).values()} == {"bfloat16"}
    whole = bench(command, root=tmp_path / "whole")
    assert whole.code == 0, whole.err
    with monkeypatch.context() as patch:
        raise_at(patch, STEP, 8, KeyboardInterrupt)
        assert bench(command, root=tmp_path / "parts").code == 130
    assert bench(command, RESUME, root=tmp_path / "parts").code == 0
    runs = [tmp_path / name / "slade_seed0" for name in ("whole", "parts")]
    for stage in ("teacher", "student", "baseline"):
        assert_equal_experiments(bench, *(run / stage for run in runs))
        saved = (runs[0] / stage / "configs" / "config_general.yaml").read_text()
        assert "precision: bfloat16" in saved

    changed = bench(command.replace("bfloat16", "float32"), RESUME, root=tmp_path / "parts")
    assert changed.code == 2
    assert "compute" in changed.err


@pytest.mark.slow
def test_an_experiment_is_evaluated_as_it_was_trained(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    experiment_args: Callable[..., Namespace],
    make_parser: Callable[..., Any],
) -> None:
    """Compiled, so that the class's forward alone would show; each evaluation of a saved model."""
    seen: list[bool] = []
    original = torch.nn.DataParallel.forward

    def forward(self: Any, *inputs: Any) -> Any:
        if hasattr(self.module, "fc"):  # a trunk
            compute = getattr(self.module, "compute", None)
            seen.append(compute == ComputeSettings("bfloat16", compile="eager"))
        return original(self, *inputs)

    monkeypatch.setattr(torch.nn.DataParallel, "forward", forward)
    numbers = [0]
    for is_evaluation in (False, True):
        args = experiment_args(
            tmp_path / "run",
            student=False,
            num_epochs_train=1,
            evaluate=is_evaluation,
            skip_eval_if_already_done=False,
            compute={"precision": "bfloat16", "compile": "eager"},
        )
        make_parser(args, BaseAPIParser).run()
        numbers.append(len(seen))
    assert numbers == sorted(set(numbers)), "nothing was computed"
    assert all(seen)
