"""Print a merged config and the source of each value: `slade-bench show-config FLAGS OF RUN.PY`.

    slade-bench show-config --config_loss slade
    slade-bench show-config --config_loss slade --stage teacher --teacher.num_epochs_train 60

The output is YAML. The comment behind a value names the config file it comes from, or the command
line. Nothing is trained or written. Exit codes: 0 success, 2 a mistake.
"""

import argparse
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from slade_plugin import compat
from slade_plugin.base.command_line import command_line
from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import nearest
from slade_plugin.commands.arguments import command_parser
from slade_plugin.config.composition import AREAS_FILE
from slade_plugin.config.keys import HOST_KEYS, OUR_KEYS, STAGE_PREFIXES, plain_key
from slade_plugin.host.validation import check_args
from slade_plugin.runner import SladeRunner
from slade_plugin.stages.kinds import STUDENT, TEACHER
from slade_plugin.stages.pipeline import Pipeline

COMMAND_LINE, PIPELINE, DEFAULT = "command line", "set by the pipeline", "default"
_EMPTY = "(empty)"  # key of the source of an empty mapping


def main(argv: Sequence[str]) -> int:
    """Run the command."""
    own, flags = argument_parser().parse_known_args(argv)
    compat.apply()
    with command_line(*flags):
        print(_page(own, flags), end="")
    return 0


def argument_parser() -> argparse.ArgumentParser:
    """Return the argument parser of the command; other words are flags of run.py."""
    top = command_parser("show-config", __doc__)
    add: Any = top.add_argument
    add("--stage", help="of self-training, such as teacher or round2/student (default: student)")
    add("--root_config_folder", help="as for run.py")
    return top


def _page(own: argparse.Namespace, words: Sequence[str]) -> str:
    runner = _TracingRunner(own.root_config_folder)
    runner.set_YR()
    reader = runner.reader_for(runner.YR, fresh=True)
    args = runner.read(reader)
    stages = {"": args}
    if vars(args).get("pipeline"):
        stages = Pipeline(runner, reader).args
    stage = own.stage or (STUDENT if STUDENT in stages else "")
    if stage not in stages:
        known = list(filter(None, stages)) or ["no --stage: the config is of one experiment"]
        raise ConfigError(f"--stage {stage}{nearest(stage, known)}; expected {', '.join(known)}.")
    lines = [f"# run.py {shlex.join(words)}"]
    if stage:
        lines.append(f"# Stage {stage}; --stage shows another one of: {', '.join(stages)}.")
    shown, sources = stages[stage], runner.sources_of(stages[stage])
    check_args(shown, runner.pytorch_getter)
    for area, config in shown.dict_of_yamls.items():
        if area == AREAS_FILE:  # shown as the names of the files
            continue
        values = {plain_key(key): getattr(shown, plain_key(key)) for key in config}
        files = ", ".join(getattr(shown, area, []))
        lines += ["", f"# {area}: {files}", *_lines(values, sources)] if values else []
    return "\n".join(lines) + "\n"


class _TracingRunner(SladeRunner):
    """A runner that can tell the source of each value of the configs it has read."""

    def __init__(self, root_config_folder: str | None) -> None:
        super().__init__(root_config_folder)
        self.readers: list[tuple[Any, Any]] = []  # of each config, the first one the command's

    def read(self, reader: Any) -> Any:
        """Read a config as usual and keep a copy of its reader."""
        args = super().read(reader)
        self.readers.append((args, self.reader_for(reader)))
        return args

    def sources_of(self, args: Any) -> Mapping[str, Any]:
        """Return the sources of a config; empty if it was not read from config files."""
        return next(
            (self._merge(args, reader) for read, reader in self.readers if read is args), {}
        )

    def _merge(self, args: Any, other: Any) -> dict[str, Any]:
        """Return the config with each value replaced by its source.

        The host merges copies of the files in which every value is the name of its file, so its
        keywords have their usual effect.
        """
        root = Path(self.root_config_folder)
        given = vars(self.YR.args)
        settings = None  # values and sources of `pipeline: {teacher: ...}`
        config, _ = self.readers[0]
        if args is not config:
            settings = _entry((vars(config), self.sources_of(config)), "pipeline", TEACHER)
        with TemporaryDirectory() as folder:
            copies: dict[str, list[str]] = {}
            for area, paths in self.determine_where_to_get_yamls(other.args).items():
                for number, path in enumerate(map(Path, paths)):
                    name = path.relative_to(root) if path.is_relative_to(root) else path
                    content = yaml.safe_load(path.read_text(encoding="utf-8"))
                    copy = Path(folder) / f"{area}_{number}.yaml"
                    text = yaml.safe_dump(_replaced(content, str(name)))
                    copy.write_text(text, encoding="utf-8")
                    copies.setdefault(area, []).append(str(copy))
            for key, value in vars(other.args).items():
                if plain_key(key) in HOST_KEYS | OUR_KEYS:
                    typed = [given[name] for name in (key, *_for_stages(key)) if name in given]
                    source = _sources_of_flag(value, typed, _entry(settings, key))
                    setattr(other.args, key, source)
            merged, *_ = other.load_yamls(
                copies, max_merge_depth=float("inf"), max_argparse_merge_depth=float("inf")
            )
        return vars(merged)


def _replaced(value: Any, source: str) -> Any:
    if not isinstance(value, Mapping):
        return source
    # A swap holds names of classes and no values.
    swapped = {key: v for key, v in value.items() if "~SWAP~" in key}
    return {key: _replaced(v, source) for key, v in value.items()} | swapped or {_EMPTY: source}


def _for_stages(key: str) -> list[str]:
    return [prefix + key for prefix in STAGE_PREFIXES]


def _sources_of_flag(value: Any, typed: Sequence[Any], settings: tuple[Any, Any] | None) -> Any:
    """Replace a value that a stage was given by its source.

    Args:
        value: The value; a mapping is replaced entry by entry.
        typed: What the command line says at its place, for this stage or for others.
        settings: The value at its place in the entry `pipeline: {teacher: ...}`, and its source.
    """
    if isinstance(value, Mapping) and value:
        return {
            key: v
            if "~SWAP~" in key
            else _sources_of_flag(v, _entries(typed, key), _entry(settings, key))
            for key, v in value.items()
        }
    if value in typed:
        return _replaced(value, COMMAND_LINE)
    if settings and settings[0] == value and isinstance(settings[1], str):
        return f"{settings[1]}, pipeline: teacher"
    return _replaced(value, PIPELINE)


def _entries(values: Sequence[Any], key: str) -> list[Any]:
    """Return the entry of each mapping that has one."""
    return [value[key] for value in values if isinstance(value, Mapping) and key in value]


def _entry(pair: tuple[Any, Any] | None, *keys: str) -> tuple[Any, Any] | None:
    """Follow keys in two mappings at once; None if one of them does not go so far."""
    for key in keys:
        if pair is None or not all(isinstance(m, Mapping) and key in m for m in pair):
            return None
        pair = pair[0][key], pair[1][key]
    return pair


def _lines(values: Mapping[str, Any], sources: Any, indent: int = 0) -> Iterator[str]:
    """Lines of YAML, each value with its source as a comment."""
    for key, value in values.items():
        known = isinstance(sources, Mapping) and key in sources
        source = sources[key] if known else DEFAULT if not isinstance(sources, str) else sources
        start = " " * indent + yaml.safe_dump(key).removesuffix("\n").removesuffix("...").strip()
        if isinstance(value, Mapping) and value:
            yield f"{start}:"
            yield from _lines(value, source, indent + 2)
            continue
        if isinstance(source, Mapping):
            source = source.get(_EMPTY, DEFAULT)
        text = yaml.safe_dump(value, default_flow_style=True, width=float("inf"))
        text = text.removesuffix("\n").removesuffix("...").strip()
        yield f"{f'{start}: {text}':<60} # {source}"
