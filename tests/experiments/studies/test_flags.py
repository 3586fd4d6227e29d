import shlex
from pathlib import Path

import pytest
import yaml

from slade_plugin.base.command_line import CommandLine
from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.studies.flags import to_shell
from slade_plugin.experiments.studies.plan import plan_runs
from tests.study_files import load_study, value_of


def test_the_special_wins_over_the_general(tmp_path: Path) -> None:
    """Study, data set, setting, command line: mappings are merged, as the host would forget one."""
    study = load_study(
        tmp_path,
        flags="--sampler {m: 1, n: {a: 1, b: 1}} --num_epochs_train 1 --x 1",
        datasets={"dots": "--sampler {n: {b: 2}} --num_epochs_train 2 --y {a: 1}"},
        settings={"whole": "--sampler {o: 3} --num_epochs_train 3 --y 3"},
    )
    run = plan_runs(study, tmp_path, [0], ["--sampler", "{n: {c: 4}}", "--x={a:", "4}"])
    (flags,) = {run["dots", 0, "whole"]}
    assert yaml.safe_load(value_of(flags, "--sampler")) == {
        "m": 1,
        "n": {"a": 1, "b": 2, "c": 4},
        "o": 3,
    }
    assert value_of(flags, "--num_epochs_train") == "3"
    assert value_of(flags, "--x") == "{a: 4}"
    assert value_of(flags, "--y") == "3"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["x"], "'x' follows no flag"),
        (["--seed", "3"], "--seed: the study sets this flag itself"),
        (["--x", "1", "--x=2"], "--x is given twice"),
        (["--x", "{a: 1"], r"(?s)--x is '\{a: 1'.*expected \{KEY: VALUE\}"),
    ],
)
def test_flags_that_cannot_be_read_are_refused(
    tmp_path: Path, extra: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_runs(load_study(tmp_path), tmp_path, [0], extra)


STRANGE_PATHS = ["[2024] Holiday pics", "{raw} pics", "two  spaces", "a: b", "it's", "no", "007"]


@pytest.mark.parametrize("path", STRANGE_PATHS)
def test_paths_among_the_flags_stay_whole(path: str, tmp_path: Path) -> None:
    """From the study's file and from the command line, up to the words of run.py."""
    study = load_study(
        tmp_path, datasets={"mine": ["--config_dataset", "folders", "--labeled", path]}
    )
    runs = plan_runs(study, tmp_path, [0], ["--dataset_root", path, f"--unlabeled={path}"])
    command = runs["mine", 0, "whole"].command()
    for flag in ("--labeled", "--dataset_root", "--unlabeled"):
        assert command[command.index(flag) + 1] == path
    found = vars(CommandLine().parse_known_args(command)[0])
    assert (found["labeled"], found["dataset_root"], found["unlabeled"]) == (path, path, path)


def test_a_value_whose_spaces_matter_stays_one_word(tmp_path: Path) -> None:
    value = "{FolderImages: {path: 'a  b'}}"
    run = plan_runs(load_study(tmp_path), tmp_path, [0], ["--dataset", value])["dots", 0, "whole"]
    found = vars(CommandLine().parse_known_args(run.command())[0])
    assert found["dataset"] == {"FolderImages": {"path": "a  b"}}


def test_a_value_in_braces_is_one_word() -> None:
    words = "--a {b: {c: 1}, d: [e, f]} --config_loss slade --g [h, i] --j 'k l'"
    assert to_shell([*words.split()[:-2], "k l"]) == (
        "--a '{b: {c: 1}, d: [e, f]}' --config_loss slade --g '[h, i]' --j 'k l'"
    )


def test_a_shell_reads_the_words_again() -> None:
    words = ["--a", "{b: 1}", "--c", "$d", "--e", "it's"]
    assert shlex.split(to_shell(words)) == words
    assert to_shell([]) == ""
