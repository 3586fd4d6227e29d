"""Cross entropy of a linear classifier with smoothed labels, as a metric loss.

Boudiaf et al., "A unifying mutual information view of metric learning: cross-entropy vs. pairwise
losses", ECCV 2020.
"""

from typing import Any

from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn
from torch.nn import functional as F

from slade_plugin.base.errors import ConfigError


class SmoothedCrossEntropyLoss(BaseMetricLossFunction):
    """A linear classifier, with bias, of unnormalized embeddings.

    Args:
        embedding_size: Size of an embedding.
        num_classes: Number of training classes; the host passes it.
        label_smoothing: Share of the target spread evenly over all classes, 0 to 1.
        **kwargs: Arguments of the host's base class.

    Raises:
        ConfigError: If label_smoothing is out of range.
    """

    def __init__(
        self, embedding_size: int, num_classes: int, label_smoothing: float = 0.1, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= label_smoothing <= 1:
            raise ConfigError(
                f"label_smoothing is {label_smoothing!r}; expected 0 to 1 (config_loss)."
            )
        self.label_smoothing = label_smoothing
        self.classifier = nn.Linear(embedding_size, num_classes)

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: object = None
    ) -> dict[str, Any]:
        """Compute the mean over a batch.

        Args:
            embeddings: (N, embedding_size).
            labels: (N,), 0 to num_classes - 1.
            indices_tuple: Ignored, since each image is compared with all classes.

        Returns:
            The loss in the form of the host's reducers.
        """
        self.classifier.to(embeddings.device)  # the host only moves parts of its own losses
        loss = F.cross_entropy(
            self.classifier(embeddings), labels, label_smoothing=self.label_smoothing
        )
        return {"loss": {"losses": loss, "indices": None, "reduction_type": "already_reduced"}}
