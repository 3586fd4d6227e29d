"""Experiments with given scores, and runs of given lengths."""

import json
from collections.abc import Callable, Mapping

import pytest

from slade_plugin.experiments.studies.plan import Run
from tests.made_experiments import make_experiment

__all__ = ["make_experiment"]


@pytest.fixture(scope="session")
def write_plan() -> Callable[..., None]:
    """Puts lengths into the pipeline.json of a run, in the form of the pipeline's plan.

    Stages are given to epochs; `steps` of an epoch are 100 but for those named.
    """

    def write(run: Run, epochs: Mapping[str, int], steps: Mapping[str, int] | None = None) -> None:
        path = run.experiment / "pipeline.json"
        state = json.loads(path.read_text()) if path.is_file() else {}
        state["plan"] = {
            name: {
                "config_loss": {"loss_funcs": {}},
                "config_general": {
                    "num_epochs_train": count,
                    "trainer": {"AnyName": {"iterations_per_epoch": (steps or {}).get(name, 100)}},
                },
            }
            for name, count in epochs.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(state))

    return write
