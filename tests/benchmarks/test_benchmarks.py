"""The benchmarks run and report what their README promises; what they measure is not judged."""

import importlib
import json
import mmap
import runpy
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import faiss
import pytest
import torch

from benchmarks import input_pipeline
from slade_plugin.base.errors import ConfigError, DataError

ROOT = Path(__file__).resolve().parents[2]


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs a benchmark as `python -m` does and reads the JSON it writes."""
    monkeypatch.syspath_prepend(str(ROOT))
    threads = torch.get_num_threads(), faiss.omp_get_max_threads()

    def run(name: str, *flags: str) -> dict[str, Any]:
        path = tmp_path / f"{name}.json"
        monkeypatch.setattr(sys, "argv", [name, *flags, "--json", str(path)])
        # runpy warns of a module that another one has imported.
        monkeypatch.delitem(sys.modules, f"benchmarks.{name}", raising=False)
        runpy.run_module(f"benchmarks.{name}", run_name="__main__")
        return json.loads(path.read_text(encoding="utf-8"))

    yield run
    torch.set_num_threads(threads[0])
    faiss.omp_set_num_threads(threads[1])


def check_common_fields(result: dict[str, Any], name: str, runs: int) -> None:
    assert result["benchmark"] == name
    assert len(result["ratios"]) == runs
    for times in result["seconds"].values():
        assert 0 < times["min"] <= times["median"] <= times["max"]
    seconds = result["seconds"]
    ratio = seconds["plugin"]["median"] / seconds["bare"]["median"]
    assert result["ratio_of_medians"] == pytest.approx(ratio)
    assert min(result["ratios"]) <= result["median_of_ratios"] <= max(result["ratios"])
    assert torch.__version__.startswith(result["environment"]["packages"]["torch"])
    assert result["settings"]["trunk"] == "conv4"


def test_student_step(benchmark: Run) -> None:
    result = benchmark(
        "student_step", "--trunk", "conv4", "--pairs", "2", "--warmup", "1", "--threads", "1"
    )
    check_common_fields(result, "student_step", runs=2)
    assert set(result["seconds"]) == {"bare", "plugin"}
    assert result["settings"]["threads"] == 1
    assert result["goal"] is None, "the goal is ResNet-50's"
    mining = result["mining"]
    assert mining["active_share"] == 1
    # 8 clusters of 4 images: 48 pairs of one cluster, 448 others, each in both directions.
    assert 0 < mining["positive_pairs"] < 96
    assert 0 < mining["negative_pairs"] < 896


def test_pseudo_labels(benchmark: Run) -> None:
    flags = "--images 300 --clusters 10 --iterations 5 --repeat 2 --threads 1".split()
    result = benchmark("pseudo_labels", *flags)
    check_common_fields(result, "pseudo_labels", runs=2)
    assert set(result["seconds"]) == {"bare", "plugin", "loading"}
    assert result["goal"] == 1.1
    assert result["same_ids"] == 1, "plugin and parts did different work"
    assert 0 < result["ratio_with_loading"] < result["ratio_of_medians"]


def test_embedding(benchmark: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of four times the trunk's size, which the plugin decodes whole, as the bare loop."""
    draw = input_pipeline.draw_photographs
    monkeypatch.setattr(
        input_pipeline,
        "draw_photographs",
        lambda folder, number, *_: draw(folder, number, 160, 128),
    )
    result = benchmark("embedding", *"--images 3 --repeat 2 --threads 1".split())
    check_common_fields(result, "embedding", runs=2)
    assert set(result["seconds"]) == {"bare", "plugin"}
    assert result["goal"] == 1.1
    assert result["largest_difference"] < 1e-6


def test_input_pipeline(benchmark: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--images 2 --width 64 --height 48 --workers 0 --repeat 1".split()
    result = benchmark("input_pipeline", *flags)
    assert result["benchmark"] == "input_pipeline"
    found = {(row["transforms"], row["source"]) for row in result["rows"]}
    sets = ("imagenet_227 train", "imagenet_227 eval", "swav views")
    assert found == {
        ("decoding alone", "Pillow"),
        ("decoding alone", "torchvision.io"),
        *((name, source) for name in sets for source in ("files", "cache")),
    }
    for row in result["rows"]:
        assert 0 < row["seconds"]["min"] <= row["seconds"]["median"] <= row["seconds"]["max"]
        assert row["images_per_second"] == pytest.approx(2 / row["seconds"]["median"])
    assert result["bytes_per_image_in_cache"] == 64 * 48 * 3  # below the short side: as it is
    printed = capsys.readouterr().out
    for name, source in found:
        assert f"| {name} | {source} |" in printed
    (tmp_path / "one.jpg").touch()
    with pytest.raises(DataError, match=r"holds 1 JPEG files; expected 2 or more"):
        benchmark("input_pipeline", *flags, "--folder", str(tmp_path))


@pytest.mark.long
def test_contention(benchmark: Run, capsys: pytest.CaptureFixture[str]) -> None:
    result = benchmark("contention", "--smoke")
    assert result["benchmark"] == "contention"
    assert result["one_core_by"].startswith(("a quota (cgroup v", "affinity"))
    assert list(result["rates"]) == ["alone", "1 busy process", "2 busy processes", "one core"]
    printed = capsys.readouterr().out
    for situation, rates in result["rates"].items():
        assert rates["plugin"][0] > 0
        assert f"| {situation} | " in printed
    assert not list(Path("/sys/fs/cgroup").glob("**/slade_contention_*"))


@pytest.mark.parametrize("version", [1, 2])
def test_contention_limits_to_one_core_by_a_quota(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in the place of /sys/fs/cgroup; its files are not removed with a group, as there."""
    monkeypatch.syspath_prepend(str(ROOT))
    contention = importlib.import_module("benchmarks.contention")
    top = tmp_path / "cpu" if version == 1 else tmp_path
    top.mkdir(exist_ok=True)
    monkeypatch.setattr(Path, "rmdir", lambda self: shutil.rmtree(self))
    with contention.one_core(tmp_path) as (how, prefix):
        (group,) = top.glob("slade_contention_*")
        done = subprocess.run([*prefix, "echo", "a b"], capture_output=True, text=True, check=True)
        limits = {path.name: path.read_text() for path in group.iterdir()}
    assert how == f"a quota (cgroup v{version})"
    assert done.stdout == "a b\n"
    assert int(limits.pop("cgroup.procs")) > 0
    assert limits == (
        {"cpu.cfs_quota_us": "100000"} if version == 1 else {"cpu.max": "100000 100000"}
    )
    assert not group.exists()


def test_contention_limits_to_one_core_without_cgroups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    contention = importlib.import_module("benchmarks.contention")
    with contention.one_core(tmp_path / "missing") as (how, prefix):
        done = subprocess.run(
            [*prefix, "nproc"], capture_output=True, text=True, check=True, env={}
        )
    assert (how, done.stdout) == ("affinity", "1\n")


def test_contention_reports_medians_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Medians 20 and 9 of 20: 45 %."""
    monkeypatch.syspath_prepend(str(ROOT))
    contention = importlib.import_module("benchmarks.contention")
    rates = {"alone": {"plugin": [10.0, 20.0, 90.0]}, "1 busy process": {"plugin": [8.0, 10.0]}}
    assert contention.to_markdown(rates)[2:] == [
        "| alone | 20.0 (100%) |",
        "| 1 busy process | 9.0 (45%) |",
    ]


@pytest.mark.parametrize(
    ("name", "flag"),
    [
        ("input_pipeline", "--images"),
        ("input_pipeline", "--repeat"),
        ("student_step", "--pairs"),
        ("student_step", "--warmup"),
        ("pseudo_labels", "--images"),
        ("pseudo_labels", "--repeat"),
        ("embedding", "--images"),
        ("embedding", "--repeat"),
        ("contention", "--steps"),
        ("contention", "--repeat"),
        ("scale", "--images"),
    ],
)
def test_too_small_a_number_is_named(name: str, flag: str, benchmark: Run) -> None:
    with pytest.raises(ConfigError, match=f"{flag} is 0; expected an integer >="):
        benchmark(name, flag, "0")


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports a benchmark; its processes find its functions by the name of its module."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


@pytest.mark.slow
def test_scale(
    modules: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--images", "200", "100", "--dims", "4", "--folder", str(tmp_path)]
    path = tmp_path / "scale.json"
    result = modules("scale").main([*flags, "--threads", "1", "--json", str(path)])
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["rows"] == result["rows"]
    found = [(row["case"], row["dim"], row["images"]) for row in result["rows"]]
    of_files = ("leak_check", "sampler", "tables", "listing")
    expected = [("pseudo_labels", 4), ("evaluation", 4), *((case, None) for case in of_files)]
    assert found == [(*key, number) for key in expected for number in (100, 200)]
    for row in result["rows"]:
        assert row["measured"]
        assert all(took > 0 for took in row["seconds"].values())
        assert row["peak_mb"] >= 0
        assert (row["growth"] is None) is (row["images"] == 100)
    assert "| listing | 200 |" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["scale.json"], "left something behind"


def test_scale_sees_memory_that_is_freed_again(modules: Callable[[str], Any]) -> None:
    with modules("scale")._watched_memory() as peak:
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # NumPy's might be memory that was kept
        with mmap.mmap(-1, 64_000_000, flags=private) as block:
            block.write(bytes(64_000_000))
            time.sleep(0.1)
    assert 60e6 < peak[0] < 200e6


def test_an_evaluation_that_takes_too_long_is_predicted(modules: Callable[[str], Any]) -> None:
    flags = "--images 100 300 --dims 4 --cases evaluation --threads 1 --limit 0".split()
    first, second = modules("scale").main(flags)["rows"]
    assert first["measured"]
    assert not second["measured"]
    assert second["seconds"] == pytest.approx({k: 9 * v for k, v in first["seconds"].items()})


def test_gpu_needs_a_gpu_or_smoke(
    modules: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"torch sees no GPU; expected one.* give --smoke"):
        modules("gpu").main(["--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_part_that_fails_leaves_the_others(
    modules: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(smoke: bool) -> Any:
        raise DataError("no luck")

    gpu = modules("gpu")
    parts = {"steps": fail, "loading": lambda smoke: ({"x": 1}, ["a line"])}
    monkeypatch.setattr(gpu, "PARTS", parts)
    assert gpu.main(["--smoke", "--parts", *parts, "--out", str(tmp_path)]) == 1
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert found["steps"]["error"] == "DataError: no luck"
    assert found["loading"]["x"] == 1
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "failed: no luck" in page
    assert "a line" in page


@pytest.mark.long
def test_gpu_smoke(modules: Callable[[str], Any], tmp_path: Path) -> None:
    """Everything that the command does on a GPU, tiny and on the CPU."""
    assert modules("gpu").main(["--smoke", "--out", str(tmp_path)]) == 0
    content = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    parts = content["parts"]
    assert list(parts) == ["tests", "steps", "loading", "million_vectors", "slade_run"]
    assert "skipped" in parts["tests"]["summary"] or torch.cuda.is_available()
    for precision in ("float32", "bfloat16", "bfloat16, channels last"):
        assert parts["steps"][precision]["images_per_second"] > 0
    assert {row["case"] for row in parts["million_vectors"]["rows"]} == {
        "pseudo_labels",
        "evaluation",
    }
    assert set(parts["slade_run"]["stages"]) == {"teacher", "pseudo_labels", "student", "baseline"}
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert page.startswith("# GPU benchmark\n\nA smoke test on the CPU")
    assert "| bfloat16 |" in page
    assert "MAP@R" in page
