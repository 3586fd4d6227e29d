"""Whole runs: a clusterer that leaves noise out, and experiments of an earlier version."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from slade_plugin.base.files import MANIFEST_HASH, write_manifest

pytestmark = pytest.mark.slow

HDBSCAN = (
    "--pseudo_labels {clusterer~OVERRIDE~: {HDBSCAN: {min_cluster_size: 2, min_samples: 1}}} "
    "--pipeline {baseline: false} "
)


def flags_of(bench: Any) -> str:
    return re.sub(r"--pseudo_labels \{.*?\}\}\} ", "", str(bench.tiny_student()))


def test_a_student_of_a_clusterer_that_leaves_noise_out(bench: Any, tmp_path: Path) -> None:
    flags = f"{flags_of(bench)} {HDBSCAN} --experiment_name noisy"
    outcome = bench(flags, root=tmp_path)
    assert outcome.code == 0, outcome.err
    state = json.loads((tmp_path / "noisy" / "pipeline.json").read_text("utf-8"))
    (manifest,) = state["stages"]["pseudo_labels"]["manifests"].values()
    noise = manifest["noise_images"]
    assert 0 < noise < manifest["num_images"]
    assert f"{manifest['num_clusters']} clusters; {noise} images" in outcome.out
    assert manifest["clusterer"]["HDBSCAN"] == {
        "min_cluster_size": 2, "min_samples": 1, "cluster_selection_method": "eom",
    }  # fmt: skip
    assert state["stages"]["student"]["done"]

    other = flags.replace("min_samples: 1", "min_samples: 2")
    refused = bench(f"{other} --resume_training latest", root=tmp_path)
    assert refused.code == 2
    assert "HDBSCAN/min_samples was 1 and is now 2" in refused.err


def make_former(experiment: Path) -> None:
    """Rewrites the files of a run as version 0.1.0 left them."""

    def former(areas: dict[str, Any]) -> None:
        for content in areas.values():
            for loss in (content.get("loss_funcs") or {}).values():
                basis = loss.get("FeatureBasisLoss")
                if basis:
                    basis |= basis.pop("pairwise_loss")["SimilarityDistribution"]
            for miner in (content.get("mining_funcs") or {}).values():
                for side in ("positive_threshold", "negative_threshold"):
                    miner["BasisSimilarityMiner"][side] = "running_mean"
            labels = content.get("pseudo_labels")
            if labels:
                labels |= {"source": "clusters", **labels.pop("clusterer")["KMeans"]}

    for folder in experiment.glob("*/configs"):
        for path in folder.glob("config_*.yaml"):
            areas = {path.stem: yaml.safe_load(path.read_text("utf-8"))}
            if isinstance(areas[path.stem], dict):
                former(areas)
            path.write_text(yaml.safe_dump(areas[path.stem]), "utf-8")
    state = json.loads((experiment / "pipeline.json").read_text("utf-8"))
    for areas in state["plan"].values():
        former(areas)
    (experiment / "pipeline.json").write_text(json.dumps(state), "utf-8")
    manifests = [*experiment.glob("pseudo_labels/*.json"), *experiment.glob("student/*/*.json")]
    for path in manifests:
        manifest = json.loads(path.read_text("utf-8"))
        if "clusterer" in manifest:
            manifest |= manifest.pop("clusterer")["KMeans"]
            del manifest[MANIFEST_HASH], manifest["noise_images"]
            write_manifest(path, manifest)


def test_an_experiment_of_an_earlier_version_is_resumed_and_evaluated(
    bench: Any, tmp_path: Path
) -> None:
    command = f"{bench.tiny_student()} --pipeline {{baseline: false}} --experiment_name before"
    assert bench(command, root=tmp_path).code == 0
    results = tmp_path / "before" / "results" / "table.json"
    table = results.read_text("utf-8")
    results.unlink()
    make_former(tmp_path / "before")
    plan = json.loads((tmp_path / "before" / "pipeline.json").read_text("utf-8"))["plan"]
    assert "running_mean" in json.dumps(plan)
    assert "KMeans" not in json.dumps(plan)

    resumed = bench(f"{command} --resume_training latest", root=tmp_path)
    assert resumed.code == 0, resumed.err
    assert "already done" in resumed.out
    assert results.read_text("utf-8") == table
    evaluated = bench(
        "--experiment_name before/student --evaluate --splits_to_eval [val]", root=tmp_path
    )
    assert evaluated.code == 0, evaluated.err
