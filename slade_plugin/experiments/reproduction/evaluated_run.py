"""One run of the poster's tables: run.py, then test and the concatenated models of its experiments.

    python -m slade_plugin.experiments.reproduction.evaluated_run FLAGS OF RUN.PY

The same as these commands by hand, one after the other; what is done is not done again.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from slade_plugin import cli
from slade_plugin.base.files import write_json
from slade_plugin.config.experiment_folder import is_pipeline_folder
from slade_plugin.experiments.studies.plan import Run
from slade_plugin.stages.kinds import STUDENT, TEACHER

EVALUATED = "evaluated.json"
PROGRAM = (sys.executable, "-m", "slade_plugin.experiments.reproduction.evaluated_run")
RESUME = ("--resume_training", "latest")


class EvaluatedRun(Run):
    """A run that is finished once it is also evaluated on test and as an ensemble."""

    @property
    def finished(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / EVALUATED).is_file()


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
        stages = [stage for stage in (TEACHER, STUDENT) if (experiment / stage).is_dir()]
        found = [f"{name}/{stage}" for stage in stages]  # a given teacher is evaluated with its own
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
