"""Build every part of a stage once, in seconds, so that mistakes show before hours of training.

Nothing is written or trained. `slade_plugin.host.validation` checks the config alone; this module
checks that its parts fit together.
"""

from pathlib import Path
from typing import Any

import torch

from slade_plugin.base.errors import ConfigError, DataError, SladeError
from slade_plugin.base.warning import warn_once
from slade_plugin.config.lookup import find_class
from slade_plugin.data.datasets.pseudo_labeled_dataset import IMAGE
from slade_plugin.data.datasets.retrieval_roles import queries_and_gallery
from slade_plugin.host.api_parsers import APISladeStudent
from slade_plugin.host.checkpoints.teacher import Teacher
from slade_plugin.host.testers import QueryGalleryTester, SladeTester
from slade_plugin.method.miners import PoolPairMiner
from slade_plugin.stages.loss_checks import (
    check_margins,
    check_takes_embeddings,
    check_takes_pairs,
)
from slade_plugin.stages.pool_check import check_pool


def preflight(parser: Any, teacher_experiment: Path | None = None) -> None:
    """Build the parts of one stage for its first split scheme and check that they fit.

    Args:
        parser: An API parser of the host or ours, before its run.
        teacher_experiment: An existing teacher to check against the student.

    Raises:
        SladeError: If any part does not fit.
    """
    # The host builds a trunk to determine the transforms.
    what = "trunk (config_models) or transforms (config_transforms)"
    parser.transforms = _build(parser.get_transforms, what)
    parser.split_manager = _build(parser.get_split_manager, "data set or split manager")
    warn_of_lone_classes(parser.split_manager)
    warn_of_unseen_epochs(parser.args)
    scheme = parser.split_manager.split_scheme_names[0]
    parser.split_manager.set_curr_split_scheme(scheme)
    _check_tester(parser)
    parser.models = _build(parser.get_model, "models (config_models)")
    parser.loss_funcs = _build(parser.get_loss_funcs, "losses (config_loss)")
    parser.mining_funcs = _build(parser.get_mining_funcs, "miners (config_loss)")
    for name, miner in parser.mining_funcs.items():
        if isinstance(miner, PoolPairMiner) and name != "unlabeled_tuple_miner":
            raise ConfigError(
                f"{name} is {type(miner).__name__}, which selects pairs of D^u; put it under "
                "mining_funcs: unlabeled_tuple_miner (config_loss)."
            )
    _build(parser.get_sampler, "sampler (config_loss)")
    _build(parser.get_optimizers, "optimizers (config_optimizers)")
    image = parser.split_manager.get_dataset("train", "train")[0][IMAGE]
    embedding = _embed(parser.models, image)
    if "metric_loss" in parser.loss_funcs:
        check_takes_embeddings(parser.loss_funcs["metric_loss"], embedding.shape[1])
    if isinstance(parser, APISladeStudent):
        _check_student(parser, image, embedding)
        if teacher_experiment is not None:
            for name in parser.split_manager.split_scheme_names:
                Teacher(teacher_experiment, name).load_into(parser.models, "cpu")


def warn_of_lone_classes(split_manager: Any) -> None:
    """Warn of evaluation splits with a single class, on which every score is perfect."""
    for name, scheme in split_manager.split_scheme_holder.split_schemes.items():
        for split, dataset in scheme["eval"].items():
            if split != "train" and split_manager.get_num_labels(dataset=dataset) < 2:
                warn_once(
                    f"{split} of split scheme {name} has a single class, so every score on it is "
                    "perfect and meaningless; expected more. Add classes, or use fewer folds: "
                    "--split_manager~APPLY~2 {num_training_partitions: 2} (config_dataset)."
                )


def warn_of_unseen_epochs(args: Any) -> None:
    """Warn of final epochs that the host would train but neither evaluate nor save."""
    epochs, interval = args.num_epochs_train, args.save_interval
    unseen = epochs % interval if isinstance(epochs, int) else 0
    if unseen and args.patience is None:
        warn_once(
            f"num_epochs_train is {epochs} and save_interval {interval}: the last {unseen} epochs "
            "are neither evaluated nor saved; expected a multiple (config_general)."
        )


def _build(build: Any, what: str) -> Any:
    """Build a part; a host error, often without text, becomes one that names the part."""
    try:
        return build()
    except SladeError:
        raise
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ConfigError(f"the {what} cannot be built: {reason}") from error


def _embed(models: dict[str, torch.nn.Module], image: torch.Tensor) -> torch.Tensor:
    if not torch.is_tensor(image):
        raise DataError(
            f"an image is {type(image).__name__} after its transform; expected a tensor."
        )
    for model in models.values():
        model.eval()
    try:
        with torch.no_grad():
            return models["embedder"](models["trunk"](image.unsqueeze(0)))
    except RuntimeError as error:
        raise DataError(
            f"the models cannot take an image of shape {tuple(image.shape)}: {error}. Check "
            "config_models, config_transforms and compute (config_general)."
        ) from error


def _check_tester(parser: Any) -> None:
    name = next(iter(parser.args.tester))
    tester: Any = find_class(parser.pytorch_getter, "tester", name)
    if isinstance(parser, APISladeStudent) and not issubclass(tester, SladeTester):
        raise ConfigError(
            f"tester is {name}; expected {SladeTester.__name__}, which also embeds the pool. "
            "Change it in config_eval; its metrics are the host's."
        )
    splits = parser.split_manager.get_dataset_dict("eval").values()
    searched = [queries_and_gallery(split) for split in splits]
    if any(searched) and not issubclass(tester, QueryGalleryTester):
        raise ConfigError(
            f"tester is {name}, but the data set names query and gallery images; expected "
            f"{QueryGalleryTester.__name__}, which keeps them apart (config_eval: in_shop)."
        )


def _check_student(parser: APISladeStudent, image: torch.Tensor, embedding: torch.Tensor) -> None:
    pseudo_labels = parser.stand_in_pseudo_labels()
    num_clusters = pseudo_labels.num_clusters
    pool_image = parser.split_manager.get_unlabeled_dataset("train")[0][IMAGE]
    if pool_image.shape != image.shape:
        raise DataError(
            f"labeled images have the shape {tuple(image.shape)}, images of the pool "
            f"{tuple(pool_image.shape)} (channels, height, width); expected equal, since both go "
            "through one forward pass. Change config_transforms or unlabeled_dataset."
        )
    check_pool(parser, pseudo_labels)
    parser.split_manager.check_labeled_classes()
    losses, miners = parser.loss_funcs, parser.mining_funcs
    for name, loss in losses.items():
        check_margins(name, loss)
    miner = miners.get("unlabeled_tuple_miner")
    reads_similarity = isinstance(miner, PoolPairMiner) and miner.reads_similarity
    if reads_similarity and "basis_loss" not in losses:
        raise ConfigError(
            f"unlabeled_tuple_miner is {type(miner).__name__}, but there is no basis_loss to "
            "provide its similarity; add one in config_loss or use PseudoLabelPairMiner."
        )
    if "unlabeled_metric_loss" in losses:
        num_labels = parser.split_manager.get_num_labels("train", "train") + num_clusters
        check_takes_pairs(losses["unlabeled_metric_loss"], embedding.shape[1], num_labels)
    basis = losses.get("basis_loss")
    if basis is not None and basis.embedding_size != embedding.shape[1]:
        raise ConfigError(
            f"basis_loss: embedding_size is {basis.embedding_size}, but the embedder's output is "
            f"{embedding.shape[1]}; expected equal. Change loss_funcs in config_loss or "
            "config_models."
        )
