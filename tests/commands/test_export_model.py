"""`slade-bench export-model`, from the command line to the file; see also test_search.py."""

import os
import sys


def test_the_file_is_named_after_the_experiment(call, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = call("export-model", finished / "student", "--to", "safetensors")
    assert outcome.code == 0, outcome.err
    assert outcome.out == (
        "student.safetensors: largest difference from the PyTorch model 0.0e+00\n"
        "student.safetensors.json: its input, its output and where it comes from\n"
    )
    assert sorted(os.listdir()) == ["student.safetensors", "student.safetensors.json"]


def test_mistakes_give_exit_code_2_and_no_file(call, finished, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    mistakes = {
        ("--to", "onnx", "--out", "model.pt"): "expected a file that ends in .onnx",
        ("--to", "onnx", "--out", "no/model.onnx"): "expected a writable folder no",
        ("--to", "onnx"): "pip install 'slade-plugin[onnx]'",
    }
    for words, message in mistakes.items():
        outcome = call("export-model", finished, *words)
        assert outcome.code == 2
        assert message in outcome.err
    assert os.listdir() == []
