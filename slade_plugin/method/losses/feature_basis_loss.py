"""The feature basis loss: W_a, the two global Gaussians and L_Basis = L_CE + L_SD.

SLADE (arXiv 2011.10269): Eq. 2 (the sum), Eq. 3 (L_CE), Eq. 4 (similarity), Eq. 5 (L_SD), Eq. 6
(global Gaussians); poster, Feature basis learning.

Differs from the paper, each by a named option:
- ``gradient_mode``: the literal Eq. 6 multiplies the gradient of L_SD by 1 - beta = 0.01 and
  leaves W_a to L_CE; by default the batch statistic gives the gradient at full strength.
- ``center_responses``: subtracts a running mean from the responses of D^u before the cosine.
- ``logit_scale`` and ``normalize_embeddings``: no public source states a scale for the logits of
  Eq. 3, nor whether f has unit length there.
- ``pairwise_loss``: L_SD, or what stands for it in ablation 3 (poster). No source defines that; the
  reading is in ``functional.pairwise_cross_entropy``.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from pytorch_metric_learning.losses.base_metric_loss_function import BaseMetricLossFunction
from pytorch_metric_learning.losses.mixins import WeightRegularizerMixin
from pytorch_metric_learning.utils.common_functions import TorchInitWrapper
from torch import Tensor

from slade_plugin.base.errors import ConfigError, DataError, ShapeError
from slade_plugin.method.functional import (
    GRADIENT_MODES,
    Moments,
    at_least_float32,
    basis_cross_entropy,
    basis_responses,
    pair_moments,
    pairwise_cosine,
    pairwise_cross_entropy,
    running_update,
    running_with_gradient,
    similarity_distribution_loss,
    thresholds_apart,
)

SIMILARITY_DISTRIBUTION, LOCAL_CE, GLOBAL_CE = "similarity_distribution", "local_ce", "global_ce"
PAIRWISE_LOSSES = (SIMILARITY_DISTRIBUTION, LOCAL_CE, GLOBAL_CE)


class FeatureBasisLoss(WeightRegularizerMixin, BaseMetricLossFunction):
    """Feature basis learning on a labeled and a pseudo-labeled batch in one call.

    ``L_CE(D^l) + L_SD(D^u)`` with
    ``L_CE = cross_entropy(logit_scale * W_a f, label)`` and
    ``L_SD = max(mu_neg - mu_pos + margin, 0) + variance_weight * (var_pos + var_neg)``,
    f of unit length unless ``normalize_embeddings`` is off. Computed in float32 or wider,
    outside autocast. The statistics are running ones; they move in training mode only, each
    Gaussian on its own, and start from their first observation.

    With ``pairwise_loss`` L_SD gives way to a cross entropy over pairs; the running statistics move
    as before, since mining needs them.

    Attributes:
        W_a: (num_classes, embedding_size) parameter, the basis vectors as rows. The host trains
            it only if the config has a ``basis_loss_optimizer``.
        positive_mean, positive_variance, positive_updates: buffers, the Gaussian of the pairs
            with one pseudo label and how often it was observed.
        negative_mean, negative_variance, negative_updates: the same for different ones.
        response_mean, response_updates: buffers, (num_classes,) running mean of the responses of
            D^u; only with ``center_responses``.

    Args:
        num_classes: c, classes of the labeled train split; the host passes it.
        embedding_size: D, output size of the embedder.
        margin: m of Eq. 5, in [0, 2]: cosines cannot be further apart.
        variance_weight: lambda_v of Eq. 5.
        momentum: beta of Eq. 6, in [0, 1), also of the running mean of the responses.
        gradient_mode: "batch" or "running", see ``functional.running_with_gradient``.
        logit_scale: multiplies the responses in L_CE only.
        normalize_embeddings: whether f is brought to unit length before W_a. Without a center
            the cosine of Eq. 4 is the same either way.
        center_responses: whether the cosine is taken around the running mean of the responses.
        cross_entropy_weight: multiplies L_CE.
        similarity_distribution_weight: multiplies L_SD, or what stands for it.
        pairwise_loss: "similarity_distribution" for L_SD; "local_ce" or "global_ce" for
            ``functional.pairwise_cross_entropy`` around the midpoint of the batch's two means (0
            where one is lacking) or of the running ones (with the gradient of ``gradient_mode``).
            Recorded under its name. ``margin`` and ``variance_weight`` are of L_SD alone.
        pairwise_scale: steepness of that cross entropy, unused by L_SD.
        **kwargs: of the host's losses: collect_stats, weight_init_func, weight_regularizer,
            weight_reg_weight, embedding_regularizer, embedding_reg_weight.

    Raises:
        ConfigError: with everything that is wrong at once.

    Source: SLADE, Eq. 2 to 6; poster, Feature basis learning.
    """

    response_mean: Tensor
    response_updates: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margin: float = 0.5,
        variance_weight: float = 1.0,
        momentum: float = 0.99,
        gradient_mode: str = "batch",
        logit_scale: float = 1.0,
        normalize_embeddings: bool = True,
        center_responses: bool = False,
        cross_entropy_weight: float = 1.0,
        similarity_distribution_weight: float = 1.0,
        pairwise_loss: str = SIMILARITY_DISTRIBUTION,
        pairwise_scale: float = 10.0,
        **kwargs: Any,
    ) -> None:
        """Check the configuration; initialise W_a as torch.nn.Linear does, the rest empty."""
        _check_configuration(
            {
                "num_classes": num_classes,
                "embedding_size": embedding_size,
                "margin": margin,
                "variance_weight": variance_weight,
                "momentum": momentum,
                "gradient_mode": gradient_mode,
                "logit_scale": logit_scale,
                "normalize_embeddings": normalize_embeddings,
                "center_responses": center_responses,
                "cross_entropy_weight": cross_entropy_weight,
                "similarity_distribution_weight": similarity_distribution_weight,
                "pairwise_loss": pairwise_loss,
                "pairwise_scale": pairwise_scale,
            },
            kwargs,
        )
        self.pairwise_loss = pairwise_loss  # the host's constructor asks for the terms' names
        super().__init__(**kwargs)
        self.num_classes = int(num_classes)
        self.embedding_size = int(embedding_size)
        self.margin = float(margin)
        self.variance_weight = float(variance_weight)
        self.momentum = float(momentum)
        self.gradient_mode = gradient_mode
        self.logit_scale = float(logit_scale)
        self.normalize_embeddings = normalize_embeddings
        self.center_responses = center_responses
        self.cross_entropy_weight = float(cross_entropy_weight)
        self.similarity_distribution_weight = float(similarity_distribution_weight)
        self.pairwise_scale = float(pairwise_scale)

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
        """Return ``cross_entropy_weight * L_CE + similarity_distribution_weight * L_SD``.

        Gradients flow to ``embeddings`` and W_a. A term without rows, or L_SD without a pair,
        is 0.

        Args:
            embeddings: (N, D), any length.
            labels: (N,) integers: below num_classes the class of a labeled row, from there on
                num_classes + cluster id of a pseudo-labeled one. The two kinds are never
                compared: L_CE sees the first, L_SD the second.
            indices_tuple: not taken; L_SD is over all pairs.

        Returns:
            A scalar, float32 or wider.

        Raises:
            ShapeError: if a shape or the dtype of the labels is wrong.
            DataError: if a label is negative or a response is NaN or infinite.
            ConfigError: if there is an ``indices_tuple``.
        """
        if indices_tuple is not None:
            raise ConfigError(
                "FeatureBasisLoss was given an indices_tuple; expected none, as Eq. 5 is over "
                "all pairs of D^u. Remove the tuple_miner, or do not use it as metric_loss."
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
        # The host's reducer sums in the dtype of the embeddings: half would round the loss.
        loss: Tensor = super().forward(at_least_float32(embeddings), labels)
        return loss

    def compute_loss(
        self, embeddings: Tensor, labels: Tensor, indices_tuple: None = None
    ) -> dict[str, dict[str, Any]]:
        """Return the weighted terms by name, for the host's reducers, which record each alone."""
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
                "FeatureBasisLoss met NaN or infinity in the basis responses: the embeddings or "
                "W_a have diverged. Lower the learning rates in config_optimizers (trunk, "
                "embedder, basis_loss)."
            )
        is_labeled = labels < self.num_classes
        cross_entropy = basis_cross_entropy(
            responses[is_labeled], labels[is_labeled], self.logit_scale
        )
        pairwise = self._pairwise(responses[~is_labeled], labels[~is_labeled])
        terms = {
            "cross_entropy": self.cross_entropy_weight * cross_entropy,
            self.pairwise_loss: self.similarity_distribution_weight * pairwise,
        }
        loss_dict: dict[str, dict[str, Any]] = {
            name: {"losses": value, "indices": None, "reduction_type": "already_reduced"}
            for name, value in terms.items()
        }
        self.add_weight_regularization_to_loss_dict(loss_dict, self.W_a)
        return loss_dict

    def responses(self, embeddings: Tensor) -> Tensor:
        """Return the responses ``r = W_a f``: (N, D) to (N, c), not centred, with gradient."""
        return basis_responses(embeddings, self.W_a, self.normalize_embeddings)

    def centered_responses(self, embeddings: Tensor) -> Tensor:
        """Return what the cosine is taken of: the responses, (N, c), minus their running mean.

        They are the responses themselves unless ``center_responses`` is on and a batch of D^u
        has been seen. This is the input of ``BasisSimilarityMiner``.
        """
        responses = self.responses(embeddings)
        center = self._center()
        return responses if center is None else responses - center

    def similarity(self, embeddings: Tensor) -> Tensor:
        """Return the basis similarity of every two rows, (N, N); larger = closer.

        Gradients flow. Centred when ``center_responses`` is on.

        Source: SLADE, Eq. 4.
        """
        return pairwise_cosine(self.responses(embeddings), self._center())

    def thresholds(self) -> tuple[float, float]:
        """Return (mu_pos, mu_neg), the mining thresholds T1 and T2; NaN if not yet observed.

        Source: SLADE, Eq. 7.
        """
        return self.mu_pos, self.mu_neg

    @property
    def gaussians_separated(self) -> bool:
        """Whether both Gaussians were observed and mu_pos > mu_neg, so that mining can begin."""
        return thresholds_apart(*self.thresholds())

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
        """Return the initialisation of a torch.nn.Linear of this shape."""
        return TorchInitWrapper(torch.nn.init.kaiming_uniform_, a=math.sqrt(5))

    def _sub_loss_names(self) -> list[str]:
        return ["cross_entropy", self.pairwise_loss]

    def _pairwise(self, responses: Tensor, labels: Tensor) -> Tensor:
        if len(labels) == 0:
            return responses.sum()
        if self.center_responses and self.training:
            self._move_response_mean(responses.detach().mean(dim=0))
        similarity = pairwise_cosine(responses, self._center())
        moments = pair_moments(similarity, labels)
        positive = self._gaussian("positive", moments.positive)
        negative = self._gaussian("negative", moments.negative)
        if self.pairwise_loss != SIMILARITY_DISTRIBUTION:
            means = moments if self.pairwise_loss == LOCAL_CE else (positive, negative)
            if means[0] is None or means[1] is None:  # no midpoint yet, or none in this batch
                return responses[:0].sum()
            midpoint = (means[0][0] + means[1][0]) / 2
            return pairwise_cross_entropy(similarity, labels, midpoint, self.pairwise_scale)
        if positive is not None and negative is not None:
            return similarity_distribution_loss(
                positive[0],
                negative[0],
                positive[1],
                negative[1],
                margin=self.margin,
                variance_weight=self.variance_weight,
            )
        seen = positive if positive is not None else negative
        if seen is None:  # one row, before any pair was seen
            return responses[:0].sum()
        return self.variance_weight * seen[1]

    def _gaussian(self, sign: str, batch: Moments | None) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of one Gaussian after this batch; None if it was never observed."""
        running_mean = self.get_buffer(f"{sign}_mean")
        running_variance = self.get_buffer(f"{sign}_variance")
        updates = self.get_buffer(f"{sign}_updates")
        is_first = int(updates) == 0
        if batch is None:
            return None if is_first else (running_mean.clone(), running_variance.clone())
        mean = running_with_gradient(
            running_mean, batch.mean, self.momentum, is_first, self.gradient_mode
        )
        variance = running_with_gradient(
            running_variance, batch.variance, self.momentum, is_first, self.gradient_mode
        )
        if self.training:
            running_mean.copy_(mean.detach())
            running_variance.copy_(variance.detach())
            updates.add_(1)
        return mean, variance

    def _move_response_mean(self, batch_mean: Tensor) -> None:
        is_first = int(self.response_updates) == 0
        moved = running_update(self.response_mean, batch_mean, self.momentum, is_first)
        self.response_mean.copy_(moved)
        self.response_updates.add_(1)

    def _center(self) -> Tensor | None:
        if self.center_responses and int(self.response_updates) > 0:
            return self.response_mean.clone()
        return None

    def _observed(self, sign: str, statistic: str) -> float:
        if int(self.get_buffer(f"{sign}_updates")) == 0:
            return math.nan
        return float(self.get_buffer(f"{sign}_{statistic}"))


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value: object, low: float, high: float = math.inf) -> bool:
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    return is_number and math.isfinite(value) and low <= value <= high  # type: ignore[arg-type, operator]


_NOT_NEGATIVE = "a number >= 0"
_EXPECTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "num_classes": (lambda value: _is_integer(value) and value >= 2, "an integer >= 2"),
    "embedding_size": (lambda value: _is_integer(value) and value >= 1, "an integer >= 1"),
    "margin": (lambda value: _is_number(value, 0, 2), "a number in [0, 2]"),
    "variance_weight": (lambda value: _is_number(value, 0), _NOT_NEGATIVE),
    "momentum": (lambda value: _is_number(value, 0, 1) and value < 1, "a number in [0, 1)"),
    "gradient_mode": (
        lambda value: isinstance(value, str) and value in GRADIENT_MODES,
        f"one of {', '.join(GRADIENT_MODES)}",
    ),
    "logit_scale": (lambda value: _is_number(value, 0) and value > 0, "a number > 0"),
    "normalize_embeddings": (lambda value: isinstance(value, bool), "True or False"),
    "center_responses": (lambda value: isinstance(value, bool), "True or False"),
    "cross_entropy_weight": (lambda value: _is_number(value, 0), _NOT_NEGATIVE),
    "similarity_distribution_weight": (lambda value: _is_number(value, 0), _NOT_NEGATIVE),
    "pairwise_loss": (
        lambda value: isinstance(value, str) and value in PAIRWISE_LOSSES,
        f"one of {', '.join(PAIRWISE_LOSSES)}",
    ),
    "pairwise_scale": (lambda value: _is_number(value, 0) and value > 0, "a number > 0"),
}


def _check_configuration(values: dict[str, object], kwargs: dict[str, Any]) -> None:
    problems = []
    for key, value in values.items():
        is_right, expected = _EXPECTED[key]
        if not is_right(value):
            hint = " (YAML reads 1e-3 as text: write 1.0e-3)" if isinstance(value, str) else ""
            hint = "" if key in ("gradient_mode", "pairwise_loss") else hint
            problems.append(f"{key} is {value!r}; expected {expected}{hint}.")
    problems += [
        f"{key} is given; expected none, as the similarity is the cosine of the basis responses "
        "and each term is a mean already."
        for key in ("distance", "reducer")
        if key in kwargs
    ]
    if problems:
        raise ConfigError(
            "FeatureBasisLoss: "
            + " ".join(problems)
            + " Set it in config_loss under loss_funcs: basis_loss: FeatureBasisLoss."
        )
