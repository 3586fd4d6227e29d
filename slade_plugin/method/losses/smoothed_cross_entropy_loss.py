"""Cross entropy of a linear classifier with smoothed labels, as a metric loss.

Boudiaf et al., "A unifying mutual information view of metric learning: cross-entropy vs. pairwise
losses", ECCV 2020.
"""

from typing import Annotated, Any

from pytorch_metric_learning.losses import BaseMetricLossFunction
from torch import Tensor, nn
from torch.nn import functional as F

from slade_plugin.base.settings import Range, checked_arguments


class SmoothedCrossEntropyLoss(BaseMetricLossFunction):
    """A linear classifier, with bias, of unnormalized embeddings.

    ``- mean_i sum_k q_ik log softmax(W f_i + b)_k`` with ``q_ik = (1 - s) [k = y_i] + s / c``; at
    least 0. Gradients flow to the embeddings f, to W and to b.

    Args:
        embedding_size: Size of an embedding.
        num_classes: Number of training classes; the host passes it.
        label_smoothing: s, the share of the target spread evenly over all c classes.
        **kwargs: Arguments of the host's base class.

    Raises:
        ConfigError: If an argument is out of range.

    Source: Boudiaf et al. (module docstring), their cross entropy with smoothed labels.
    """

    def __init__(
        self,
        embedding_size: Annotated[int, Range(1)],
        num_classes: Annotated[int, Range(1)],
        label_smoothing: Annotated[float, Range(0, 1)] = 0.1,
        **kwargs: Any,
    ) -> None:
        checked_arguments(
            "SmoothedCrossEntropyLoss",
            SmoothedCrossEntropyLoss.__init__,
            locals(),
            "config_loss under loss_funcs: SmoothedCrossEntropyLoss",
        )
        super().__init__(**kwargs)
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
        loss = F.cross_entropy(
            self.classifier(embeddings), labels, label_smoothing=self.label_smoothing
        )
        return {"loss": {"losses": loss, "indices": None, "reduction_type": "already_reduced"}}
