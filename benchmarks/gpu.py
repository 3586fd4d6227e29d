"""All measurements for a machine with a GPU, in one command of under 10 minutes.

The `gpu` tests; the student's step against the host's, in float32 and in bfloat16; how many images
a second that step takes and the data loader gives; pseudo labels and evaluation for a million
vectors; a short `slade` run. Each part is reported even if another one fails.

    python -m benchmarks.gpu --out gpu_results

writes gpu_results/gpu.md and gpu_results/gpu.json. With --smoke everything is tiny and on the CPU:
it shows that the command works, and measures nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import input_pipeline, scale, student_step
from slade_plugin.base.errors import ConfigError, ExperimentError
from slade_plugin.base.files import atomic_write, write_json
from slade_plugin.base.provenance import describe_environment

ROOT = Path(__file__).resolve().parents[1]
TEST_FOLDER, GPU_TESTS = "tests", "tests/contract/test_gpu.py"
IMAGES_A_STEP = 2 * student_step.BATCH_SIZE

Part = tuple[dict[str, Any], list[str]]  # numbers for JSON, lines of Markdown


def tests(smoke: bool) -> Part:
    """Run the tests marked `gpu`; without a GPU all are skipped."""
    folder = GPU_TESTS if smoke else TEST_FOLDER
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", folder]
    code, output = _run(command)
    summary = output.strip().splitlines()[-1].strip("= ")
    if code:
        raise ExperimentError(f"the gpu tests failed: {summary}\n{output}")
    return {"summary": summary}, [summary]


def steps(smoke: bool) -> Part:
    """Time the student's step against the host's over the same 64 images."""
    flags = ["--trunk", "resnet50", "--device", "cuda", "--pairs", "30", "--warmup", "5"]
    if smoke:
        flags = ["--trunk", "conv4", "--pairs", "1", "--warmup", "1"]
    numbers, lines = {}, _head("trunk", "host, ms", "student, ms", "ratio", "images/s")
    for name, more in {
        "float32": [],
        "bfloat16": ["--precision", "bfloat16"],
        "bfloat16, channels last": ["--precision", "bfloat16", "--channels_last"],
    }.items():
        found = student_step.main(flags + more)
        host, student = (found["seconds"][who]["median"] for who in ("bare", "plugin"))
        numbers[name] = found | {"images_per_second": IMAGES_A_STEP / student}
        ratio = f"{found['median_of_ratios']:.3f}"
        lines.append(
            _row(name, f"{1e3 * host:.1f}", f"{1e3 * student:.1f}", ratio, IMAGES_A_STEP / student)
        )
    return numbers, lines


def loading(smoke: bool) -> Part:
    """Measure images per second of the data loader, to compare with those of a step."""
    workers = ["0"] if smoke else ["1", str(os.cpu_count() or 1)]
    flags = ["--images", "2", "--width", "64", "--height", "48"] if smoke else ["--images", "1024"]
    found = input_pipeline.main([*flags, "--repeat", "1", "--workers", *workers])
    lines = _head("transforms", "from", "workers", "images/s")
    lines += [
        _row(row["transforms"], row["source"], row["workers"], row["images_per_second"])
        for row in found["rows"]
    ]
    return found, lines


def million_vectors(smoke: bool) -> Part:
    """Time k-means with the usual k, and all of the host's metrics."""
    sizes = ["100", "8"] if smoke else ["1000000", "512"]
    flags = ["--images", sizes[0], "--dims", sizes[1], "--cases", *scale.OF_VECTORS]
    found = scale.main(flags)
    return found, scale.markdown(found["rows"])


def slade_run(smoke: bool) -> Part:
    """Run `run.py --config_loss slade`, shortened; its scores are untuned."""
    # Two epochs of 20 steps at most: this is about seconds, not scores.
    flags = ["--split_manager~APPLY~2", "{num_training_sets: 1}"]
    flags += ["--every.num_epochs_train", "1" if smoke else "2", "--every.save_interval", "1"]
    flags += ["--every.trainer~APPLY~2", f"{{iterations_per_epoch: {1 if smoke else 100}}}"]
    if smoke:
        few = "{Glyphs: {letters_per_script: 8, instances_per_face: 1}}"
        flags += ["--dataset", few, "--unlabeled_dataset", few]
        flags += ["--unlabeled_sampler~APPLY~2", "{length_before_new_iter: 64}"]
        flags += ["--pseudo_labels", "{clusterer: {KMeans: {num_clusters: 8}}}"]
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        command = [sys.executable, str(ROOT / "run.py"), "--config_loss", "slade", *flags]
        command += ["--experiment_name", "gpu", "--root_experiment_folder", folder]
        code, output = _run([*command, "--dataset_root", folder])
        if code:
            raise ExperimentError(f"the slade run ended with {code}: {output[-2000:]}")
        run = Path(folder, "gpu")
        stages = json.loads((run / "pipeline.json").read_text(encoding="utf-8"))["stages"]
        table = (run / "results" / "table.md").read_text(encoding="utf-8")
    seconds = {name: stage["seconds"] for name, stage in stages.items() if "seconds" in stage}
    numbers = {"seconds": time.perf_counter() - started, "stages": seconds}
    lines = _head("stage", "seconds") + [_row(*stage) for stage in seconds.items()]
    return numbers, [*lines, "", *table.strip().splitlines()]


PARTS: dict[str, Callable[[bool], Part]] = {
    part.__name__: part for part in (tests, steps, loading, million_vectors, slade_run)
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and write both files.

    Returns:
        0, or 1 if a part failed.

    Raises:
        ConfigError: If there is no GPU and --smoke is not given.
        ExperimentError: If a file cannot be written.
    """
    args = _parser().parse_args(argv)
    if not args.smoke and not torch.cuda.is_available():
        raise ConfigError(
            "torch sees no GPU; expected one. Check the driver and that torch was installed with "
            "CUDA, or give --smoke to see that this command works."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    parts: dict[str, dict[str, Any]] = {}
    lines = ["# GPU benchmark", ""]
    for name in args.parts:
        print(f"== {name}", flush=True)
        started = time.perf_counter()
        try:
            numbers, table = PARTS[name](args.smoke)
        except Exception as error:  # noqa: BLE001 - the other parts are worth having
            traceback.print_exc()
            numbers, table = {"error": f"{type(error).__name__}: {error}"}, [f"failed: {error}"]
        took = time.perf_counter() - started
        parts[name] = {**numbers, "seconds_in_all": took}
        title = name.replace("_", " ").capitalize()
        lines += [f"## {title} ({took:.0f} s)", "", *table, ""]
    environment = describe_environment()
    lines[2:2] = _about(environment, args.smoke)
    settings = {"smoke": args.smoke, "parts": args.parts}
    content = {"benchmark": "gpu", "settings": settings, "parts": parts}
    write_json(args.out / "gpu.json", content | {"environment": environment})
    with atomic_write(args.out / "gpu.md") as file:
        file.write("\n".join(lines).encode())
    print(f"written: {args.out / 'gpu.md'}, {args.out / 'gpu.json'}")
    return int(any("error" in part for part in parts.values()))


def _about(environment: Mapping[str, Any], smoke: bool) -> list[str]:
    machine, packages = environment["machine"], environment["packages"]
    lines = ["A smoke test on the CPU: these numbers mean nothing.", ""] if smoke else []
    return [
        *lines,
        f"{machine['gpu'] or 'no GPU'}, {machine['cores']} cores, torch {packages['torch']}, "
        f"faiss {packages['faiss-gpu']}, commit {environment['git_commit']}.",
        "",
    ]


def _run(command: Sequence[str]) -> tuple[int, str]:
    found = subprocess.run(
        command, cwd=ROOT, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return found.returncode, found.stdout


def _head(*names: str) -> list[str]:
    return [_row(*names), "|---" * len(names) + "|"]


def _row(*cells: object) -> str:
    return "| " + " | ".join(f"{c:.1f}" if isinstance(c, float) else str(c) for c in cells) + " |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--out", type=Path, default=Path("gpu_results"), help="folder to write to")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--smoke", action="store_true", help="tiny and on the CPU, in seconds")
    return parser


if __name__ == "__main__":
    sys.exit(main())
