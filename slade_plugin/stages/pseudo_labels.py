"""Stage 2 of a round: embed the pool with the teacher and cluster it."""

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from slade_plugin.stages.kinds import PSEUDO_LABELS, STUDENT, stage_name
from slade_plugin.stages.stage import Stage


class PseudoLabels(Stage):
    """Make one pseudo-label record per split scheme, with the config of the round's student."""

    kind = PSEUDO_LABELS
    heading = "pseudo labels"
    in_every_round = True
    has_scores = False

    def describe(self) -> str:
        """Name the source of the labels."""
        return self.command.clusters

    def run(self, entry: dict[str, Any]) -> None:
        """Make the missing records and check the existing ones."""
        args = Namespace(**vars(self._students_config))
        args.api_parser = {"APISladePseudoLabels": {}}
        manifests = self.command.runner.get_api_parser(args).run()
        records = {
            name: {k: v for k, v in manifest.items() if k != "cluster_sizes"}
            for name, manifest in manifests.items()
        }
        entry.update(done=True, manifests=records)
        for name, manifest in manifests.items():
            for line in describe_pseudo_labels(manifest):
                print(f"      {name}: {line}")

    @property
    def _students_config(self) -> Any:
        return self.command.configs[stage_name(STUDENT, self.number)]


def describe_pseudo_labels(manifest: Mapping[str, Any]) -> Iterator[str]:
    """Describe a record: agreement with known classes, and change since the last round."""
    if "agreement" in manifest:
        a = manifest["agreement"]
        yield (
            f"NMI {a['NMI']:.3f}, AMI {a['AMI']:.3f}, purity {a['purity']:.3f}, "
            f"{manifest['empty_clusters']} empty clusters"
        )
    elif "empty_clusters" in manifest:  # without known classes only sizes can be shown
        sizes = sorted(manifest["cluster_sizes"])
        yield (
            f"{sizes[0]} to {sizes[-1]} images per cluster, "
            f"{manifest['empty_clusters']} empty clusters"
        )
    if manifest.get("noise_images"):
        noise = manifest["noise_images"]
        yield (
            f"{manifest['num_clusters']} clusters; {noise} images "
            f"({100 * noise / manifest['num_images']:.1f} %) left out as noise"
        )
    if "last_round" in manifest:
        change = manifest["last_round"]
        yield (
            f"against the last round NMI {change['NMI']:.3f}, "
            f"{100 * change['moved']:.1f} % of the images moved"
        )
