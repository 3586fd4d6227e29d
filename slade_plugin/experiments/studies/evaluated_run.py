"""The program of a run: train it, then evaluate it as its run.json says.

The same as these commands by hand, one after the other. Finished steps are not repeated.
"""

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from slade_plugin.base.errors import DivergenceError
from slade_plugin.base.files import write_json
from slade_plugin.config.experiment_folder import has_checkpoint, is_pipeline_folder
from slade_plugin.experiments.studies.plan import MARKERS
from slade_plugin.stages.kinds import TEACHER, students_of

# It passes the entry point on, so that nothing above is imported.
PROGRAM = (
    sys.executable,
    "-c",
    "import sys; from slade_plugin import cli; "
    "from slade_plugin.experiments.studies.evaluated_run import train_and_evaluate; "
    "sys.exit(train_and_evaluate(sys.argv[1:], cli.main))",
)
RESUME = ("--resume_training", "latest")


def train_and_evaluate(argv: Sequence[str], run_py: Callable[[], int]) -> int:
    """Train and evaluate.

    Args:
        argv: Words of run.py, with --root_experiment_folder, which holds run.json, and
            --experiment_name.
        run_py: Runs the command line in `sys.argv` and returns its exit code.

    Returns:
        run.py's exit code: 0 if all went well.
    """

    def run(flags: Sequence[str]) -> int:
        print("run.py", *flags, flush=True)
        sys.argv = ["run.py", *flags]
        return run_py()

    words = list(argv)
    root = Path(words[words.index("--root_experiment_folder") + 1])
    name = words[words.index("--experiment_name") + 1]
    experiment = root / name
    evaluation = json.loads((root / "run.json").read_text(encoding="utf-8"))["evaluation"]
    if (experiment / "configs").is_dir():  # a plain experiment that was started
        if has_checkpoint(experiment):
            words += RESUME
        else:
            shutil.rmtree(experiment)  # stopped before its first checkpoint
    code = run(words)
    if code == DivergenceError.exit_code and evaluation == "val":
        write_json(root / MARKERS[evaluation], {"diverged": True})  # a trial that scores 0
        return 0
    found = [name]
    if is_pipeline_folder(experiment):
        # a given teacher is evaluated with its own run
        stages = [experiment / TEACHER, *students_of(experiment)[-1:]]
        found = [stage.relative_to(root).as_posix() for stage in stages if stage.is_dir()]
    for one in found if evaluation == "test" else ():
        places = [*_places(words), "--root_experiment_folder", str(root), "--experiment_name", one]
        for how, splits in (("--evaluate", "[test]"), ("--evaluate_ensemble", "[val, test]")):
            code = code or run([*places, how, "--splits_to_eval", *splits.split()])
    if code == 0 and evaluation:
        write_json(root / MARKERS[evaluation], {"experiments": found})
    return code


def _places(words: Sequence[str]) -> list[str]:
    """Return the flags that say where data and weights are, which an evaluation needs too."""
    kept: list[str] = []
    for flag in ("--dataset_root", "--pytorch_home"):
        if flag in words:
            at = words.index(flag)
            kept += words[at : at + 2]
    return kept
