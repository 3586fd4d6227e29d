"""What only a GPU can show; see benchmarks/gpu.py."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from slade_plugin.config.compute_settings import ComputeSettings
from slade_plugin.host.api_parsers.computed_trunk import computed
from slade_plugin.method.models import TorchvisionTrunk

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("compute", ["{}", "{precision: bfloat16, channels_last: True}"])
def test_every_stage_runs_and_its_checkpoints_load_without_a_gpu(
    compute: str, bench: Any, tmp_path: Path
) -> None:
    outcome = bench(bench.tiny_student(), "--compute", compute, root=tmp_path)
    assert outcome.code == 0, outcome.err
    run = tmp_path / "slade_seed0"
    rows = json.loads((run / "results" / "table.json").read_text())["rows"]
    assert {row["experiment"] for row in rows} == {"teacher", "student", "baseline"}
    for path in run.rglob("trunk_best*.pth"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        assert all(t.isfinite().all() for t in state.values())


def test_a_run_is_evaluated_again_with_the_same_scores(bench: Any, tmp_path: Path) -> None:
    flags = f"{bench.tiny()} --config_loss contrastive --experiment_name run"
    assert bench(flags, root=tmp_path).code == 0
    before = bench.records(tmp_path / "run")
    again = "--experiment_name run --evaluate --splits_to_eval [val] --skip_eval_if_already_done"
    outcome = bench(f"{again} True", root=tmp_path)
    assert outcome.code == 0, outcome.err
    assert bench.records(tmp_path / "run") == before


@pytest.mark.parametrize(
    "settings",
    [
        ComputeSettings("bfloat16"),
        ComputeSettings(channels_last=True),
        ComputeSettings("bfloat16", channels_last=True, compile=True),
    ],
    ids=str,
)
def test_a_resnet_computes_nearly_as_in_float32(settings: ComputeSettings) -> None:
    torch.manual_seed(0)
    trunk = TorchvisionTrunk("resnet50", weights=None).cuda().eval()
    images = torch.randn(4, 3, 227, 227, device="cuda")
    with torch.no_grad():
        expected = trunk(images)
        found = computed(trunk, settings)(images)
    assert found.device == images.device
    assert found.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.99
