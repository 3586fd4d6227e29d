"""Images per second of reading, decoding and transforming, with and without the cache.

Measured against the least that any reader of JPEG files must do: decode them, with Pillow and with
``torchvision.io``. Everything runs in the worker processes of a ``DataLoader``; bare decoding gives
a number back in the place of an image, so it has nothing to copy and nothing to transform.

The transforms are those of ``config_transforms`` as the host composes them (with ToTensor and
Normalize), and SwAV's views. Images are generated with the spectrum of photographs, or one's own.

    python -m benchmarks.input_pipeline --json input_pipeline.json
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image
from powerful_benchmarker.factories import TransformFactory
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_jpeg, read_file

from benchmarks.paired_timing import check_at_least, spread
from slade_plugin.base.errors import DataError
from slade_plugin.base.files import write_json
from slade_plugin.base.provenance import describe_environment
from slade_plugin.config.composition import config_root
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.method.self_supervised.settings import SwAVSettings
from slade_plugin.method.self_supervised.views import MultiCropViews
from slade_plugin.runner import SladeRunner

TRANSFORMS = ("imagenet_227",)  # of config_transforms: those for photographs
BATCH_SIZE = 32


class Photographs(ImageFiles):
    """The JPEG files below a folder, as one class."""

    number = 0

    @classmethod
    def find(cls, root: Path, **options: Any) -> ImageList:
        """List the first `number` images."""
        paths = sorted(p.relative_to(root).as_posix() for p in root.rglob("[!.]*.jp*g"))
        paths = paths[: cls.number]
        return ImageList(root, np.array(paths), np.zeros(len(paths), np.int64), ["all"])


class Decoded(Dataset[int]):
    """Decode each file and return 0."""

    def __init__(self, images: ImageList, decode: Callable[[str], object]) -> None:
        self.images = images
        self.decode = decode

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, index: int) -> int:
        """Decode one file."""
        self.decode(str(self.images.path(index)))
        return 0


def decode_with_pillow(path: str) -> None:
    """Decode the whole file as RGB."""
    with Image.open(path) as image:
        image.convert("RGB")


def decode_with_torchvision(path: str) -> None:
    """Decode it with libjpeg-turbo into a tensor."""
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # since 0.29
        decode_jpeg(read_file(path), mode=ImageReadMode.RGB)


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure and report.

    Returns:
        The results, without settings and environment.

    Raises:
        ConfigError: If a number of the command line is too small.
        DataError: If the folder holds too few images.
    """
    args = _parser().parse_args(argv)
    least = {"images": 2, "repeat": 1, "width": 32, "height": 32, "short_side": 16}
    check_at_least(least, **{name: getattr(args, name) for name in least})
    check_at_least({"workers": 0}, workers=min(args.workers))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        root = args.folder
        if root is None:
            root = Path(temporary, "images")
            draw_photographs(root, args.images, args.width, args.height)
        results = measure(root, Path(temporary, "cache"), args)
    print_table(results)
    if args.json is not None:
        settings = {**vars(args), "json": None, "folder": args.folder and str(args.folder)}
        content = {"benchmark": "input_pipeline", "settings": settings, **results}
        write_json(args.json, content | {"environment": describe_environment()})
    return results


def measure(root: Path, cache: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Measure all ways of reading in turn, so that other load affects all alike.

    Args:
        root: Folder of the JPEG files.
        cache: Folder for the cache.
        args: The command line.
    """
    Photographs.number = args.images
    images = Photographs(root).image_list
    if len(images) < args.images:
        raise DataError(
            f"{root} holds {len(images)} JPEG files; expected {args.images} or more. Lower "
            "--images, or name another --folder."
        )
    options = {"short_side": args.short_side, "folder": str(cache)}
    started = time.perf_counter()
    Photographs(root, cache=options)
    building = time.perf_counter() - started

    work: dict[tuple[str, str], Any] = {
        ("decoding alone", "Pillow"): Decoded(images, decode_with_pillow),
        ("decoding alone", "torchvision.io"): Decoded(images, decode_with_torchvision),
    }
    for name, transform in transform_sets().items():
        work[name, "files"] = Photographs(root, transform)
        work[name, "cache"] = Photographs(root, transform, cache=options)
    loaders = {
        (*key, workers): DataLoader(
            dataset,
            BATCH_SIZE,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        for workers in args.workers
        for key, dataset in work.items()
    }
    seconds: dict[tuple[str, str, int], list[float]] = {key: [] for key in loaders}
    for number in range(args.repeat + 1):
        for key, loader in loaders.items():
            started = time.perf_counter()
            for _ in loader:
                pass
            if number:  # the first pass starts the workers and fills the system's file cache
                seconds[key].append(time.perf_counter() - started)
    rows = [
        {
            "transforms": name,
            "source": source,
            "workers": workers,
            "images_per_second": len(images) / statistics.median(times),
            "seconds": spread(times),
        }
        for (name, source, workers), times in seconds.items()
    ]
    files = sum(images.sizes.tolist()) / len(images)
    stored = (path.stat().st_size for path in cache.glob("*.rgb"))
    return {
        "rows": rows,
        "bytes_per_file": files,
        "bytes_per_image_in_cache": sum(stored) / len(images),
        "built_images_per_second": len(images) / building,
    }


def transform_sets() -> dict[str, Callable[[Image.Image], Any]]:
    """Map names to transforms: the host's, and SwAV's views."""
    factory = TransformFactory(getter=SladeRunner().pytorch_getter)
    sets = {}
    for name in TRANSFORMS:
        text = (config_root() / "config_transforms" / f"{name}.yaml").read_text(encoding="utf-8")
        made = factory.create(
            named_specs=yaml.safe_load(text)["transforms"], kwargs={"trunk_model": None}
        )
        sets |= {f"{name} {kind}": transform for kind, transform in made.items()}
    text = (config_root() / "config_self_supervised" / "swav.yaml").read_text(encoding="utf-8")
    views = SwAVSettings.from_config(yaml.safe_load(text)["self_supervised"]).views
    return sets | {"swav views": MultiCropViews(views, None)}


def draw_photographs(folder: Path, number: int, width: int, height: int) -> None:
    """Write JPEG files of quality 90 with the 1/f spectrum of photographs.

    Args:
        folder: Where to; is made.
        number: How many; each is another image.
        width: In pixels.
        height: In pixels.
    """
    folder.mkdir(parents=True)
    frequencies = np.hypot(
        np.fft.fftfreq(height)[:, None] * height, np.fft.rfftfreq(width)[None] * width
    )
    fall_off = 1 / np.maximum(frequencies, 1)
    for index in range(number):
        noise = np.random.default_rng(index).normal(size=(3, height, width))
        gray_and_color = np.fft.irfft2(np.fft.rfft2(noise) * fall_off, s=(height, width))
        gray_and_color /= gray_and_color.std(axis=(1, 2), keepdims=True)
        pixels = 128 + 50 * gray_and_color[:1] + 15 * gray_and_color
        array = np.clip(pixels, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(array).save(folder / f"{index:05}.jpg", quality=90)


def print_table(results: dict[str, Any]) -> None:
    """Print images per second as a Markdown table, one column per number of workers."""
    workers = list(dict.fromkeys(row["workers"] for row in results["rows"]))
    cells: dict[tuple[str, str], list[str]] = {}
    for row in results["rows"]:
        key = row["transforms"], row["source"]
        cells.setdefault(key, []).append(f"{row['images_per_second']:.0f}")
    print(f"| transforms | from | {' | '.join(f'{n} workers' for n in workers)} |")
    print("|---|---|" + "---|" * len(workers))
    for (name, source), numbers in cells.items():
        print(f"| {name} | {source} | {' | '.join(numbers)} |")
    print(
        f"\nimages per second; {results['bytes_per_file'] / 1000:.0f} kB a file, "
        f"{results['bytes_per_image_in_cache'] / 1000:.0f} kB an image in the cache, which was "
        f"built at {results['built_images_per_second']:.0f} images per second"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input_pipeline")
    add = parser.add_argument
    add("--images", type=int, default=512, help="number of images of one pass")
    add("--folder", type=Path, default=None, help="your own JPEG files; None = generated")
    add("--width", type=int, default=500, help="of generated images, in pixels")
    add("--height", type=int, default=375)
    add("--short_side", type=int, default=256, help="of the cache")
    add("--workers", type=int, nargs="+", default=[1, 2], help="numbers of worker processes")
    add("--repeat", type=int, default=5, help="passes, after one to warm up")
    add("--json", type=Path, default=None, help="file for all numbers and the environment")
    return parser


if __name__ == "__main__":
    main()
