"""`slade-bench evaluate`, from the command line to the scores."""

import json

from slade_plugin.retrieval.embedder import load_embedder
from slade_plugin.retrieval.evaluation import evaluate_images


def test_scores_are_printed_and_written(call, finished, gallery, tmp_path) -> None:
    out = tmp_path / "scores.json"
    outcome = call("evaluate", finished, gallery, "--ks", 1, 4, "--out", out)
    assert outcome.code == 0, outcome.err
    expected = evaluate_images(load_embedder(finished), gallery, ks=(1, 4))
    assert json.loads(out.read_text())["scores"] == expected
    printed = dict(line.split() for line in outcome.out.splitlines())
    assert printed == {name: f"{value:.2f}" for name, value in expected.items()}


def test_mistakes_give_exit_code_2(call, finished, gallery, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    mistakes = {
        (gallery, "--ks", "0"): "--ks is 0",
        (gallery, "--ks", "1", "1"): "expected different numbers",
        (gallery, "--out", tmp_path / "scores.csv"): "expected a file that ends in .json",
        (tmp_path / "empty",): "holds no images",
    }
    for words, message in mistakes.items():
        outcome = call("evaluate", finished, *words)
        assert outcome.code == 2
        assert message in outcome.err
