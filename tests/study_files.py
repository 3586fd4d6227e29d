"""A small study as a file, and the words of its runs."""

from pathlib import Path
from typing import Any

import yaml

from slade_plugin.experiments.studies.plan import Run
from slade_plugin.experiments.studies.study import Setting, Study
from slade_plugin.experiments.studies.study_file import read_study

CONTENT: dict[str, Any] = {
    "datasets": {"dots": None, "blobs": "--config_dataset blobs"},
    "first": "whole",
    "settings": {
        "plain": "--config_loss plain",
        "whole": ["--config_loss", "whole"],
        "swav": {"flags": "--config_loss whole --config_models swav", "teacher": "own"},
    },
    "controls": {"oracle": {"flags": "--config_loss oracle"}},
    "flags": '--num_epochs_train 2 --sampler "{m: 4}"',
}


def load_study(tmp_path: Path, **changes: Any) -> Study:
    path = tmp_path / "mine.yaml"
    content = {k: v for k, v in {**CONTENT, **changes}.items() if v != "absent"}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return read_study(path)


def setting_of(study: Study, name: str) -> Setting:
    """The setting with a name."""
    return next(s for s in study.settings if s.name == name)


def value_of(run: Run, flag: str) -> str:
    """The words behind a flag of run.py."""
    words = run.command()
    start = words.index(flag) + 1
    end = next((i for i in range(start, len(words)) if words[i].startswith("--")), len(words))
    return " ".join(words[start:end])
