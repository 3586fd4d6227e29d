"""`slade-bench show-config`: the config is that of run.py, and each value is in the file named."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.config.composition import available_configs, config_root

LINE = re.compile(r"^( *)(\S.*?): +(\S.*?) +# (.*)$")


class Shown:
    """The page of one command line."""

    def __init__(self, bench: Any, *words: str) -> None:
        outcome = bench.run_words(["show-config", *words])
        assert (outcome.code, outcome.err) == (0, "")
        self.text = outcome.out
        self.config = yaml.safe_load(self.text)
        self.sources: dict[str, str] = {}
        path: list[str] = []
        for line in self.text.splitlines():
            if not line or line.startswith("#"):
                continue
            depth = (len(line) - len(line.lstrip())) // 2
            path = [*path[:depth], yaml.safe_load(line.strip().partition(":")[0])]
            if found := LINE.match(line):
                self.sources["/".join(map(str, path))] = found[4]

    def value(self, path: str) -> Any:
        value = self.config
        for key in path.split("/"):
            value = value[key]
        return value


def leaves(value: Any) -> Iterator[Any]:
    """Values of a config file; a swap gives a class another name and holds none."""
    if not isinstance(value, dict) or not value:
        yield value
        return
    for entry in value.values():
        yield from leaves(entry)


def plain(value: Any) -> Any:
    """As YAML has it, without what the pipeline and the seed add."""
    return yaml.safe_load(yaml.safe_dump(value))


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["teacher", "round2/student", "baseline"])
def test_the_config_is_that_of_the_stage_and_its_files_hold_its_values(
    bench: Any, stage: str
) -> None:
    flags = ["--config_loss", "slade_ms", "--config_dataset", "icons", "--rounds", "2"]
    shown = Shown(bench, *flags, "--stage", stage)
    expected = vars(bench.stages(*flags)[stage])
    for key, value in shown.config.items():
        assert value == plain(expected[key]), key
    assert {"loss_funcs", "trainer", "models", "dataset", "optimizers"} <= {*shown.config}
    assert f"# Stage {stage};" in shown.text
    check_files(shown)


def check_files(shown: Shown) -> None:
    for path, source in shown.sources.items():
        name, _, entry = source.partition(", ")
        if name.endswith(".yaml"):
            content = yaml.safe_load((config_root() / name).read_text(encoding="utf-8"))
            content = content["pipeline"] if entry else content
            assert shown.value(path) in list(leaves(content)), path
        else:
            assert source in ("command line", "set by the pipeline"), path


@pytest.mark.long
@pytest.mark.parametrize("loss", available_configs(config_root(), "config_loss"))
def test_every_shipped_config_is_shown(bench: Any, loss: str) -> None:
    if not loss.endswith("_search"):  # has bounds in the place of values
        check_files(Shown(bench, "--config_loss", loss))


def test_what_a_file_brings_is_named_by_its_own_file(bench: Any) -> None:
    sources = Shown(bench, "--config_loss", "slade").sources
    assert sources["num_epochs_train"] == "config_general/slade.yaml"
    assert sources["trainer/SladeStudent/basis_warmup_iterations"] == (
        "config_general/slade_basis.yaml"
    )
    assert sources[
        "loss_funcs/basis_loss/FeatureBasisLoss/pairwise_loss/SimilarityDistribution/margin"
    ] == ("config_loss/slade_basis.yaml")
    assert sources["tester/SladeTester/batch_size"] == "config_eval/default.yaml"  # by a ~SWAP~


def test_what_the_pipeline_gives_to_a_stage(bench: Any) -> None:
    teacher = Shown(bench, "--config_loss", "slade", "--stage", "teacher").sources
    assert teacher["num_epochs_train"] == "config_general/slade.yaml, pipeline: teacher"
    assert teacher["loss_funcs/metric_loss/ContrastiveLoss/neg_margin"] == (
        "config_general/slade.yaml, pipeline: teacher"
    )
    student = Shown(bench, "--config_loss", "slade").sources
    assert student["pseudo_labels/folder"] == "set by the pipeline"
    assert student["pseudo_labels/clusterer/KMeans/num_clusters"] == "config_general/slade.yaml"
    baseline = Shown(bench, "--config_loss", "slade", "--stage", "baseline").sources
    assert baseline["num_epochs_train"] == "set by the pipeline"


@pytest.mark.parametrize(
    ("flags", "path", "value"),
    [
        (["--num_epochs_train", "16"], "num_epochs_train", 16),
        (["--pseudo_labels", "{clusterer: {KMeans: {num_clusters: 9}}}"],
         "pseudo_labels/clusterer/KMeans/num_clusters", 9),
        (["--trainer~APPLY~2", "{batch_size: 5}"], "trainer/SladeStudent/batch_size", 5),
        (["--models", "{trunk~OVERRIDE~: {conv4: {hidden_size: 8}}}"],
         "models/trunk/conv4/hidden_size", 8),
        (["--models", "{embedder~OVERRIDE~: {Identity: {}}}"], "models/embedder/Identity", {}),
        (["--seed", "3"], "seed", 3),
        (["--every.save_interval", "2"], "save_interval", 2),
        (["--rounds", "2"], "pipeline/rounds", 2),
    ],
)  # fmt: skip
def test_flags(bench: Any, flags: list[str], path: str, value: Any) -> None:
    """Beside the values of the files that they leave as they are."""
    shown = Shown(bench, "--config_loss", "slade", *flags)
    assert (shown.value(path), shown.sources[path]) == (value, "command line")
    assert shown.sources[
        "loss_funcs/basis_loss/FeatureBasisLoss/pairwise_loss/SimilarityDistribution/margin"
    ].endswith(".yaml")
    if "APPLY" in flags[0]:
        rest = "trainer/SladeStudent/iterations_per_epoch"
        assert shown.sources[rest] == "config_general/slade.yaml"


def test_a_flag_for_the_student_is_not_the_teachers(bench: Any) -> None:
    flags = ["--config_loss", "slade", "--num_epochs_train", "16", "--teacher.save_interval", "2"]
    teacher, student = (Shown(bench, *flags, "--stage", s) for s in ("teacher", "student"))
    assert teacher.sources["num_epochs_train"].endswith("pipeline: teacher")
    assert teacher.sources["save_interval"] == "command line"
    assert student.sources["num_epochs_train"] == "command line"
    assert student.sources["save_interval"] == "config_general/slade.yaml"


def test_a_plain_experiment_has_no_stages(bench: Any) -> None:
    shown = Shown(bench, "--config_loss", "contrastive")
    assert "# Stage" not in shown.text
    assert shown.sources["loss_funcs/metric_loss/ContrastiveLoss/pos_margin"] == (
        "config_loss/contrastive.yaml"
    )


def test_files_of_another_config_root_are_named(bench: Any, tmp_path: Path) -> None:
    root = Path(shutil.copytree(config_root(), tmp_path / "mine"))
    (root / "config_loss" / "new.yaml").write_text(
        "brings: {config_loss: [slade]}\nsampler~OVERRIDE~: {MPerClassSampler: {m: 2}}\n"
    )
    shown = Shown(bench, "--root_config_folder", str(root), "--config_loss", "new")
    assert shown.sources["sampler/MPerClassSampler/m"] == "config_loss/new.yaml"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config_loss", "slad"], "config_loss has no config 'slad'"),
        (["--config_loss", "slade", "--stage", "studnt"],
         "--stage studnt (did you mean 'student'?); expected teacher, student, baseline"),
        (["--config_loss", "contrastive", "--stage", "student"], "the config is of one experiment"),
        (["--config_loss", "slade", "--sed", "3"], "--sed"),
    ],
)  # fmt: skip
def test_mistakes_are_explained(bench: Any, words: list[str], message: str) -> None:
    outcome = bench.run_words(["show-config", *words])
    assert outcome.code == 2
    assert message in outcome.err
