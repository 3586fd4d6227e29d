"""One run of the table: run.py, then test and the concatenated models of its experiments.

    python -m slade_plugin.reproduction.evaluated_run FLAGS OF RUN.PY

The same as these commands by hand, one after the other; what is done is not done again.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from slade_plugin import cli
from slade_plugin.files import write_json
from slade_plugin.reproduction.main_table import EVALUATED
from slade_plugin.self_training.pipeline import is_pipeline_folder
from slade_plugin.self_training.stages import STUDENT, TEACHER

RESUME = ("--resume_training", "latest")


def main(argv: Sequence[str]) -> int:
    """Trains and evaluates.

    Args:
        argv: Words of run.py, with --root_experiment_folder and --experiment_name.

    Returns:
        run.py's exit code: 0 if all went well.
    """
    words = list(argv)
    root = Path(words[words.index("--root_experiment_folder") + 1])
    name = words[words.index("--experiment_name") + 1]
    experiment = root / name
    if (experiment / "configs").is_dir():  # a plain experiment that was begun
        if any(experiment.glob("*/saved_models/trunk_[0-9]*.pth")):
            words += RESUME
        else:
            shutil.rmtree(experiment)  # stopped before its first checkpoint
    code = _run(words)
    found = [name]
    if is_pipeline_folder(experiment):
        found = [f"{name}/{stage}" for stage in (TEACHER, STUDENT)]
    for one in found:
        places = [*_places(words), "--root_experiment_folder", str(root), "--experiment_name", one]
        for how, splits in (("--evaluate", "[test]"), ("--evaluate_ensemble", "[val, test]")):
            code = code or _run([*places, how, "--splits_to_eval", *splits.split()])
    if code == 0:
        write_json(root / EVALUATED, {"experiments": found})
    return code


def _run(words: Sequence[str]) -> int:
    print("run.py", *words, flush=True)
    sys.argv = ["run.py", *words]
    return cli.main()


def _places(words: Sequence[str]) -> list[str]:
    """Flags that say where data and weights lie, which an evaluation needs as well."""
    kept: list[str] = []
    for flag in ("--dataset_root", "--pytorch_home"):
        if flag in words:
            at = words.index(flag)
            kept += words[at : at + 2]
    return kept


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
