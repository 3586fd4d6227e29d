"""Verify, describe or download a data set of image files: `slade-bench data`.

    slade-bench data download CUB200Files datasets
    slade-bench data verify CUB200Files datasets --decode
    slade-bench data describe CUB200Files datasets --contact_sheet birds.png

NAME is the class of the data set, ROOT the --dataset_root. Exit codes: 0 success, 1 a problem with
the data set, 2 a mistake or unreadable files.
"""

import argparse
import inspect
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.base.files import write_json, write_text
from slade_plugin.base.machine import usable_cores
from slade_plugin.base.suggestions import nearest
from slade_plugin.commands.arguments import EXIT_PROBLEM, check_at_least, command_parser
from slade_plugin.commands.outputs import check_outputs, check_writable
from slade_plugin.config.lookup import check_arguments
from slade_plugin.data import datasets
from slade_plugin.data.datasets.image_files import ImageFiles
from slade_plugin.data.datasets.published_counts import PublishedCounts
from slade_plugin.data.downloads.sources import ARCHIVES, download
from slade_plugin.data.files.image_list import ImageList
from slade_plugin.data.inspection import checks, hash_manifest
from slade_plugin.data.inspection.checks import Check
from slade_plugin.data.inspection.contact_sheet import write_contact_sheet
from slade_plugin.data.inspection.description import (
    checks_to_text,
    describe,
    description_to_markdown,
)
from slade_plugin.data.inspection.file_probe import probe_files

_SAMPLE = 1000  # files in a manifest without --full
_FILTERS = {"min_images_per_class", "excluded_classes"}  # they change the counts


def main(argv: Sequence[str]) -> int:
    """Run the command; 1 is a problem with the data set."""
    args = argument_parser().parse_args(argv)
    try:
        return args.run(args)
    except OSError as error:
        raise DataError(
            f"{error.filename or args.root}: {error.strerror or error}; expected readable files "
            "and a writable place for the output."
        ) from error


def image_data_sets() -> dict[str, type[ImageFiles]]:
    """Return the plugin's data sets of image files by name.

    They come from the package, since the registry would load the host.
    """
    return {
        name: value
        for name, value in vars(datasets).items()
        if inspect.isclass(value) and issubclass(value, ImageFiles) and value is not ImageFiles
    }


def _verify(args: argparse.Namespace) -> int:
    name, images, published = _load(args)
    manifest = None
    if args.manifest is not None and args.manifest.exists():
        manifest = hash_manifest.read_hashes(args.manifest, name)
    decode = args.decode or args.full
    probes = probe_files(images, decode, args.workers)
    results = checks.check_all(images, published, probes, decode)
    names = checks.check_class_names(images) if _data_set(name).classes_named_by_user else None
    results += [names] if names else []
    if args.full:
        groups = hash_manifest.find_duplicates(images, args.workers)
        results.append(checks.check_duplicates(groups, images))
    if args.manifest is not None:
        results.append(_check_hashes(args, name, images, manifest))
    facts = {"data_set": name, "root": str(images.root), "fingerprint": images.fingerprint}
    _report(args, facts, f"# {name}\n\nIn `{images.root}`.\n", results)
    problems = sum(check.state == "problem" for check in results)
    print(
        f"\n{problems} of {len(results)} checks found a problem." if problems else "\nAll is well."
    )
    return EXIT_PROBLEM if problems else 0


def _describe(args: argparse.Namespace) -> int:
    name, images, published = _load(args)
    if args.contact_sheet is not None:  # first: it takes seconds, the rest minutes
        write_contact_sheet(images, args.contact_sheet)
    probes = probe_files(images, args.decode, args.workers)
    facts = describe(name, images, published, probes)
    results = checks.check_all(images, published, probes, args.decode)
    _report(args, facts, description_to_markdown(facts), results)
    return 0


def _download(args: argparse.Namespace) -> int:
    cls = _data_set(args.name)
    try:
        images = cls.find(args.root)
    except DataError:
        archive = ARCHIVES.get(cls.__name__)
        if archive is None:
            print(f"{cls.__name__} cannot be downloaded automatically. {cls.how_to_get}")
            return EXIT_PROBLEM
        download(archive, args.root)
        images = cls.find(args.root)
    print(
        f"{cls.__name__} is in {images.root}: {len(images.class_names)} classes, {len(images)} "
        f"images. Next: slade-bench data verify {cls.__name__} {args.root} --decode"
    )
    return 0


def _data_set(name: str) -> type[ImageFiles]:
    known = image_data_sets()
    by_lower_case = {known_name.lower(): cls for known_name, cls in known.items()}
    if name.lower() not in by_lower_case:
        raise ConfigError(
            f"unknown data set of image files: {name!r}{nearest(name, known)}; expected "
            f"one of {', '.join(sorted(known))}."
        )
    return by_lower_case[name.lower()]


def _load(args: argparse.Namespace) -> tuple[str, ImageList, PublishedCounts | None]:
    """Name, files, and the counts to compare them with. Checks that outputs can be written."""
    cls = _data_set(args.name)
    check_outputs(filter(None, [args.out]), (".md", ".json"))
    for path in filter(None, (args.manifest, args.contact_sheet)):
        check_writable(path)
    check_at_least("--workers", args.workers, 0)
    options = _options(cls, args.options)
    if not options:  # the checks find what is missing
        return cls.__name__, cls.find(args.root), cls.published
    published = None if options.keys() & _FILTERS else cls.published
    return cls.__name__, cls(args.root, **options).image_list, published


def _options(cls: type[ImageFiles], text: str) -> dict[str, Any]:
    """Read --options."""
    try:
        options = yaml.safe_load(text)
    except yaml.YAMLError:
        options = None
    if not isinstance(options, dict):
        raise ConfigError(
            f'--options is {text!r}; expected a YAML mapping such as "{{min_images_per_class: 5}}".'
        )
    check_arguments(cls, options, "--options")
    for name in ("root", "transform", "download", "cache"):
        if name in options:
            raise ConfigError(f"--options: {name!r} does not apply here; leave it out.")
    return options


def _check_hashes(
    args: argparse.Namespace, name: str, images: ImageList, manifest: dict[str, Any] | None
) -> Check:
    """Compare with the manifest, or write it if there is none."""
    if manifest is not None:
        places = np.flatnonzero(np.isin(images.paths, list(manifest["sha256"])))
        found = hash_manifest.hash_files(images, places, args.workers)
        return checks.check_hashes(manifest, found, images)
    places = hash_manifest.sample(images, len(images) if args.full else _SAMPLE)
    hashes = hash_manifest.hash_files(images, places, args.workers)
    written = hash_manifest.write_hashes(args.manifest, name, images, hashes)
    text = f"{written} of {len(images)} files hashed and written to {args.manifest}"
    return Check("hashes", "ok", text)


def _report(
    args: argparse.Namespace, facts: dict[str, Any], page: str, results: Sequence[Check]
) -> None:
    """Print the page with the checks; with --out, also write it or its facts."""
    page += "\n## Checks\n\n" + checks_to_text(results)
    print(page, end="")
    if args.out is None:
        return
    if args.out.suffix == ".json":
        write_json(args.out, {**facts, "checks": [asdict(check) for check in results]})
    else:
        write_text(args.out, page)


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command; `args.run` is the function to call."""
    top = command_parser("data", __doc__)
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add: Any = common.add_argument
    add("name", metavar="NAME", help=", ".join(sorted(image_data_sets())))
    add("root", metavar="ROOT", type=Path, help="the folder that --dataset_root names")
    reading = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add = reading.add_argument
    add("--decode", action="store_true", help="decode every image, not only its header")
    add("--options", default="{}", help='of the data set, such as "{min_images_per_class: 5}"')
    add("--workers", type=int, default=usable_cores(), help="processes (default: one per core)")
    add("--out", type=Path, help="also write the report: FILE.md or FILE.json")
    commands: Any = top.add_subparsers(required=True, metavar="verify|describe|download")

    def command(name: str, run: Any, text: str, *parents: Any) -> Any:
        made = commands.add_parser(
            name, parents=[common, *parents], description=text, help=text, allow_abbrev=False
        )
        made.set_defaults(run=run, manifest=None, contact_sheet=None)
        return made.add_argument

    add = command("verify", _verify, "check counts, files and boxes; exit code 1 if wrong", reading)
    add("--full", action="store_true", help="also decode, and find identical files")
    add(
        "--manifest", metavar="FILE", type=Path,
        help="compare with these hashes; if there is no such file, hash a sample of "
        f"{_SAMPLE} files (with --full all) and write it",
    )  # fmt: skip
    add = command("describe", _describe, "describe classes, image sizes and file types", reading)
    add("--contact_sheet", metavar="FILE.png", type=Path, help="draw some images of each class")
    command("download", _download, "download the data set, or print the manual steps")
    return top
