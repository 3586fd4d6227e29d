"""The host's evaluation, and the same forward pass for an unlabeled pool.

Metrics, selection of queries and references, and record names are the host's own code, so its
records share a table with those of ``GlobalEmbeddingSpaceTester``.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_metric_learning.utils.common_functions as pml_cf
import torch
import tqdm
from pytorch_metric_learning.testers import GlobalEmbeddingSpaceTester
from sklearn.preprocessing import normalize

from slade_plugin.base.errors import ConfigError, DataError
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE


class SladeTester(GlobalEmbeddingSpaceTester):
    """`GlobalEmbeddingSpaceTester` that also writes a pool's embeddings to disk."""

    def description_suffixes(self, base_name: str) -> str:
        """Return the host's record name, so that students and baselines share one table."""
        name = super().description_suffixes(base_name)
        return name.replace(type(self).__name__, GlobalEmbeddingSpaceTester.__name__)

    def embed_pool(
        self, pool: Any, trunk: torch.nn.Module, embedder: torch.nn.Module, path: Path
    ) -> np.ndarray:
        """Embed a pool exactly as for evaluation, into an array on disk.

        Memory use is bounded by one batch. Models are set to eval mode; no gradient flows.

        Args:
            pool: N dicts with an entry "data", after the eval transform.
            trunk: Maps images (B, C, H, W) to features.
            embedder: Maps features to embeddings (B, D).
            path: File to write (a .npy array, memory-mapped).

        Returns:
            (N, D) float32, unit length if the tester normalizes embeddings; memory-mapped.

        Raises:
            ConfigError: If the tester uses PCA, which needs all embeddings at once.
            DataError: If an embedding is not finite or the number of images is wrong.
        """
        if self.pca:
            raise ConfigError(
                f"tester: pca is {self.pca}, but pseudo labels need the unreduced embeddings; "
                "set pca: null in config_eval."
            )
        trunk.eval()
        embedder.eval()
        loader = pml_cf.get_eval_dataloader(
            pool, self.batch_size, self.dataloader_num_workers, None
        )
        array: Any = None
        start = 0
        with torch.no_grad():
            for batch in tqdm.tqdm(loader, "embedding the pool", disable=None, leave=False):
                output = self.get_embeddings_for_eval(trunk, embedder, batch[IMAGE])
                embeddings = output.float().cpu().numpy()
                # First, since normalize raises a ValueError on NaN.
                if not np.isfinite(embeddings).all():
                    raise DataError(
                        f"the teacher's embeddings of pool images {start} to "
                        f"{start + len(embeddings) - 1} are not finite; expected numbers. The "
                        "teacher has diverged or an image is damaged."
                    )
                if self.normalize_embeddings:
                    embeddings = normalize(embeddings)
                if array is None:
                    array = np.lib.format.open_memmap(
                        path, mode="w+", dtype=np.float32, shape=(len(pool), embeddings.shape[1])
                    )
                array[start : start + len(embeddings)] = embeddings
                start += len(embeddings)
        if array is None or start != len(pool):
            raise DataError(
                f"the pool gave {start} of {len(pool)} images; expected all of them, at least 1."
            )
        array.flush()
        return array
