"""Feature basis loss: W_a, the two global Gaussians and L_Basis = L_CE + L_SD.

SLADE (arXiv 2011.10269): Eq. 2 (the sum), Eq. 3 (L_CE), Eq. 4 (similarity), Eq. 6 (global
Gaussians); poster, Feature basis learning. L_SD and its alternatives: ``method.pairwise_losses``.

Differs from the paper by these options:
- ``gradient_mode``: the literal Eq. 6 scales the gradient of L_SD by 1 - beta = 0.01 and leaves W_a
  to L_CE; by default the gradient is the batch statistic's at full strength.
- ``bias_correction``: corrects the running statistics for their start, as Adam does.
- ``center_responses``: subtracts a running mean from the responses of D^u before the cosine.
- ``logit_scale`` and ``normalize_embeddings``: no public source states a logit scale for Eq. 3, or
  whether f has unit length there.
"""

import math
from typing import Annotated, Any, Literal

import torch
from pytorch_metric_learning.losses.base_metric_loss_function import BaseMetricLossFunction
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError, ShapeError
from slade_plugin.base.settings import Range, checked_arguments
from slade_plugin.method.functional import (
    Moments,
    PairMoments,
    at_least_float32,
    basis_cross_entropy,
    basis_responses,
    corrected_momentum,
    pair_moments,
    pairwise_cosine,
    running_update,
    running_with_gradient,
)
from slade_plugin.method.pairwise_losses import PairwiseLoss, SimilarityDistribution

_SIMILARITY_DISTRIBUTION = SimilarityDistribution()


class FeatureBasisLoss(WeightRegularizerMixin, BaseMetricLossFunction):
    """Feature basis learning on a labeled and a pseudo-labeled batch in one call.

    ``L_CE(D^l) + L_pair(D^u)`` with ``L_CE = cross_entropy(logit_scale * W_a f, label)`` and L_SD
    or another ``PairwiseLoss`` over the basis similarities of D^u. Computed in float32 or wider,
    outside autocast. The running statistics are updated in training mode only, for any pairwise
    loss, each Gaussian separately, starting from their first observation.

    The signature declares the arguments with type, range and meaning. ``**kwargs`` are those of the
    host's losses: collect_stats, weight_init_func, weight_regularizer, weight_reg_weight,
    embedding_regularizer, embedding_reg_weight.

    Attributes:
        W_a: (num_classes, embedding_size) parameter, the basis vectors as rows. The host trains
            it only if the config has a ``basis_loss_optimizer``.
        positive_mean, positive_variance, positive_updates: buffers, the Gaussian of pairs with
            equal pseudo labels and its number of observations.
        negative_mean, negative_variance, negative_updates: the same for different pseudo labels.
        response_mean, response_updates: buffers, (num_classes,) running mean of the responses of
            D^u and its number of observations; updated only with ``center_responses``.
        pool_similarity: (M, M) basis similarity of the M rows of D^u in the last forward call,
            detached, for their miner; None if M is 0.

    Raises:
        ConfigError: reporting all invalid arguments at once.

    Source: SLADE, Eq. 2 to 6; poster, Feature basis learning.
    """

    response_mean: Tensor
    response_updates: Tensor
    num_classes: int
    embedding_size: int
    momentum: float
    bias_correction: bool
    gradient_mode: str
    logit_scale: float
    normalize_embeddings: bool
    center_responses: bool
    similarity_distribution_weight: float
    pairwise_loss: PairwiseLoss

    def __init__(
        self,
        num_classes: Annotated[int, Range(2)],  # c, classes of the train split; the host passes it
        embedding_size: Annotated[int, Range(1)],  # D, output size of the embedder
        pairwise_loss: PairwiseLoss = _SIMILARITY_DISTRIBUTION,  # L_SD, or ablation 3's
        momentum: Annotated[float, Range(0, 1, "[)")] = 0.99,  # beta of Eq. 6, for every statistic
        bias_correction: bool = False,  # for every statistic, see functional.corrected_momentum
        gradient_mode: Literal["batch", "running"] = "batch",  # see running_with_gradient
        logit_scale: Annotated[float, Range(0, ends="(]")] = 1.0,  # of the responses, in L_CE only
        normalize_embeddings: bool = True,  # whether f has unit length before W_a
        center_responses: bool = False,  # the cosine around the running mean of the responses
        similarity_distribution_weight: Annotated[float, Range(0)] = 1.0,  # of the pairwise loss
        **kwargs: Any,
    ) -> None:
        """Check the arguments; initialize W_a like torch.nn.Linear."""
        arguments = checked_arguments(
            "FeatureBasisLoss",
            FeatureBasisLoss.__init__,
            locals(),
            "config_loss under loss_funcs: basis_loss: FeatureBasisLoss",
            problems=[
                f"{key} is given; expected none, since the similarity is the cosine of the basis "
                "responses and each term is already a mean."
                for key in ("distance", "reducer")
                if key in kwargs
            ],
        )
        self.__dict__.update(arguments)  # the host's constructor needs the terms' names
        super().__init__(**kwargs)
        self.pool_similarity: Tensor | None = None

        self.W_a = torch.nn.Parameter(torch.empty(self.num_classes, self.embedding_size))
        self.weight_init_func(self.W_a)
        for sign in ("positive", "negative"):
            self.register_buffer(f"{sign}_mean", torch.zeros(()))
            self.register_buffer(f"{sign}_variance", torch.zeros(()))
            self.register_buffer(f"{sign}_updates", torch.zeros((), dtype=torch.int64))
        self.register_buffer("response_mean", torch.zeros(self.num_classes))
        self.register_buffer("response_updates", torch.zeros((), dtype=torch.int64))
        self.add_to_recordable_attributes(
            list_of_names=["mu_pos", "mu_neg", "var_pos", "var_neg"], is_stat=False
        )

    def forward(self, embeddings: Tensor, labels: Tensor, indices_tuple: None = None) -> Tensor:
        """Return ``L_CE + similarity_distribution_weight * L_pair``.

        Gradients flow to ``embeddings`` and W_a. A term without rows is 0. In a batch without pairs
        L_SD has the value of the running statistics and zero gradient; a sign without pairs in the
        batch gets no gradient.

        Args:
            embeddings: (N, D), any length.
            labels: (N,) integers: below num_classes the class of a labeled row, otherwise
                num_classes + cluster id of a pseudo-labeled row. The two are never compared: L_CE
                uses the former, the pairwise loss the latter.
            indices_tuple: must be None; the pairwise loss is over all pairs.

        Returns:
            A scalar, float32 or wider.

        Raises:
            ShapeError: if a shape or the dtype of the labels is wrong.
            DataError: if a label is negative or a response is NaN or infinite.
            ConfigError: if there is an ``indices_tuple``.
        """
        if indices_tuple is not None:
            raise ConfigError(
                "FeatureBasisLoss was given an indices_tuple; expected none, since the pairwise "
                "loss is over all pairs of D^u. Remove the tuple_miner, or do not use it as "
                "metric_loss."
            )
        if embeddings.dim() != 2 or embeddings.shape[1] != self.embedding_size:
            raise ShapeError(
                f"FeatureBasisLoss was given embeddings of shape {tuple(embeddings.shape)}; "
                f"expected (N, {self.embedding_size}). embedding_size must be the output size of "
                "the embedder; set it in config_loss under loss_funcs: basis_loss: "
                "FeatureBasisLoss."
            )
        if labels.shape != embeddings.shape[:1] or labels.is_floating_point():
            raise ShapeError(
                f"FeatureBasisLoss was given labels of shape {tuple(labels.shape)} and dtype "
                f"{labels.dtype}; expected ({len(embeddings)},) integers."
            )
        # The host's reducer sums in the embeddings' dtype: half precision would round the loss.
        loss: Tensor = super().forward(at_least_float32(embeddings), labels)
        return loss

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the weighted terms by name for the host's reducers, which record each one."""
        if (labels < 0).any():
            raise DataError(
                f"FeatureBasisLoss was given the label {int(labels.min())}; expected class ids "
                f"from 0 to {self.num_classes - 1} and pseudo labels from {self.num_classes} on "
                "(num_classes + cluster id). An unlabeled image without a pseudo label must not "
                "be in the batch."
            )
        responses = self.responses(embeddings)  # (N, c)
        if not torch.isfinite(responses).all():
            raise DataError(
                "FeatureBasisLoss got NaN or infinity in the basis responses: the embeddings or "
                "W_a have diverged. Lower the learning rates in config_optimizers (trunk, "
                "embedder, basis_loss)."
            )
        is_labeled = labels < self.num_classes
        cross_entropy = basis_cross_entropy(
            responses[is_labeled], labels[is_labeled], self.logit_scale
        )
        pairwise = self._pairwise(responses[~is_labeled], labels[~is_labeled])
        terms = {
            "cross_entropy": cross_entropy,
            self.pairwise_loss.term: self.similarity_distribution_weight * pairwise,
        }
        loss_dict: dict[str, dict[str, Any]] = {
            name: {"losses": value, "indices": None, "reduction_type": "already_reduced"}
            for name, value in terms.items()
        }
        self.add_weight_regularization_to_loss_dict(loss_dict, self.W_a)
        return loss_dict

    def responses(self, embeddings: Tensor) -> Tensor:
        """Return the responses ``r = W_a f``: (N, D) to (N, c), not centered, with gradient."""
        return basis_responses(embeddings, self.W_a, self.normalize_embeddings)

    def similarity(self, embeddings: Tensor) -> Tensor:
        """Return the pairwise basis similarity, (N, N); larger = closer.

        Gradients flow. Centered if ``center_responses``.

        Source: SLADE, Eq. 4.
        """
        return pairwise_cosine(self.responses(embeddings), self._center())

    def running_means(self) -> tuple[float, float]:
        """Return (mu_pos, mu_neg); NaN if not yet observed.

        Source: SLADE, Eq. 6; the mining thresholds T1 and T2 of Eq. 7.
        """
        return self.mu_pos, self.mu_neg

    @property
    def mu_pos(self) -> float:
        """Running mean of the positive pairs; NaN if not yet observed."""
        return self._observed("positive", "mean")

    @property
    def mu_neg(self) -> float:
        """Running mean of the negative pairs; NaN if not yet observed."""
        return self._observed("negative", "mean")

    @property
    def var_pos(self) -> float:
        """Running variance of the positive pairs; NaN if not yet observed."""
        return self._observed("positive", "variance")

    @property
    def var_neg(self) -> float:
        """Running variance of the negative pairs; NaN if not yet observed."""
        return self._observed("negative", "variance")

    def get_default_weight_init_func(self) -> TorchInitWrapper:
        """Return the initialization of a torch.nn.Linear of this shape."""
        return TorchInitWrapper(torch.nn.init.kaiming_uniform_, a=math.sqrt(5))

    def _sub_loss_names(self) -> list[str]:
        return ["cross_entropy", self.pairwise_loss.term]

    def _pairwise(self, responses: Tensor, labels: Tensor) -> Tensor:
        self.pool_similarity = None
        if len(labels) == 0:
            return responses.sum()
        if self.center_responses and self.training:
            self._move_response_mean(responses.detach().mean(dim=0))
        similarity = pairwise_cosine(responses, self._center())
        self.pool_similarity = similarity.detach()
        batch = pair_moments(similarity, labels)
        running = PairMoments(
            self._gaussian("positive", batch.positive), self._gaussian("negative", batch.negative)
        )
        return self.pairwise_loss(similarity, labels, batch, running)

    def _gaussian(self, sign: str, batch: Moments | None) -> Moments | None:
        """Update one Gaussian with this batch; return None if it was never observed."""
        running_mean = self.get_buffer(f"{sign}_mean")
        running_variance = self.get_buffer(f"{sign}_variance")
        updates = self.get_buffer(f"{sign}_updates")
        if batch is None:
            seen = int(updates) > 0
            return Moments(running_mean.clone(), running_variance.clone()) if seen else None
        step = (*self._step(updates), self.gradient_mode)
        mean = running_with_gradient(running_mean, batch.mean, *step)
        variance = running_with_gradient(running_variance, batch.variance, *step)
        if self.training:
            running_mean.copy_(mean.detach())
            running_variance.copy_(variance.detach())
            updates.add_(1)
        return Moments(mean, variance)

    def _step(self, updates: Tensor) -> tuple[float, bool]:
        """Return the momentum of a statistic's next update, and whether it is the first."""
        done = int(updates)
        corrected = self.bias_correction
        return corrected_momentum(self.momentum, done) if corrected else self.momentum, done == 0

    def _move_response_mean(self, batch_mean: Tensor) -> None:
        step = self._step(self.response_updates)
        self.response_mean.copy_(running_update(self.response_mean, batch_mean, *step))
        self.response_updates.add_(1)

    def _center(self) -> Tensor | None:
        if self.center_responses and int(self.response_updates) > 0:
            return self.response_mean.clone()
        return None

    def _observed(self, sign: str, statistic: str) -> float:
        if int(self.get_buffer(f"{sign}_updates")) == 0:
            return math.nan
        return float(self.get_buffer(f"{sign}_{statistic}"))
