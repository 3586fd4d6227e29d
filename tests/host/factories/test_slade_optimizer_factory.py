"""Optimizers as in the host; schedulers and gradient clipping, which never worked there."""

import copy
import logging
from typing import Any

import pytest
import torch
from powerful_benchmarker.factories import OptimizerFactory
from pytorch_metric_learning import losses, trainers

from slade_plugin.base.errors import ConfigError
from slade_plugin.host.factories import SladeOptimizerFactory

pytestmark = pytest.mark.host

RMSPROP = {"RMSprop": {"lr": 0.01, "weight_decay": 0.0001, "momentum": 0.9}}


def parts() -> tuple[dict[str, torch.nn.Module], dict[str, torch.nn.Module]]:
    torch.manual_seed(0)
    models = {"trunk": torch.nn.Linear(3, 2), "embedder": torch.nn.Linear(2, 2)}
    loss = losses.NormalizedSoftmaxLoss(num_classes=2, embedding_size=2)
    return models, {"metric_loss": loss}


def entries(**trunk: Any) -> dict[str, Any]:
    return {
        "trunk_optimizer": {**copy.deepcopy(RMSPROP), **trunk},
        "embedder_optimizer": copy.deepcopy(RMSPROP),
        "metric_loss_optimizer": {"SGD": {"lr": 0.1}},
    }


def create(
    getter: Any,
    specs: Any,
    sources: tuple[Any, Any] | None = None,
    factory: type = SladeOptimizerFactory,
) -> Any:
    kwargs = {"param_sources": list(sources or parts())}
    return factory(getter=getter).create(named_specs=specs, kwargs=kwargs)


def make_trainer(models: Any, loss_funcs: Any, built: Any) -> Any:
    """The host's trainer, which checks every key."""
    return trainers.MetricLossOnly(
        models=models,
        optimizers=built[0],
        batch_size=2,
        loss_funcs=loss_funcs,
        mining_funcs={},
        dataset=[(torch.randn(3), i % 2) for i in range(4)],
        iterations_per_epoch=1,
        data_device=torch.device("cpu"),
        lr_schedulers=built[1],
        gradient_clippers=built[2],
        dataloader_num_workers=0,
    )


def test_same_optimizers_as_the_host(getter: Any) -> None:
    """One step from the same start gives the same parameters."""
    after = []
    for factory in (SladeOptimizerFactory, OptimizerFactory):
        sources = parts()
        optimizers, schedulers, clippers = create(getter, entries(), sources, factory)
        for source in sources:
            for module in source.values():
                for parameter in module.parameters():
                    parameter.grad = torch.ones_like(parameter)
        for optimizer in optimizers.values():
            optimizer.step()
        after.append([p for s in sources for m in s.values() for p in m.parameters()])
        assert schedulers == clippers == {}
        assert list(optimizers) == list(entries())
    assert len(after[0]) == 5
    assert all(torch.equal(ours, hosts) for ours, hosts in zip(*after, strict=True))


def test_every_trainable_parameter_is_held_once(getter: Any) -> None:
    sources = parts()
    optimizers, _, _ = create(getter, entries(), sources)
    held = [p for o in optimizers.values() for g in o.param_groups for p in g["params"]]
    expected = [p for s in sources for m in s.values() for p in m.parameters()]
    assert sorted(map(id, held)) == sorted(map(id, expected))


SCHEDULERS = {
    "scheduler_by_epoch": {"StepLR": {"step_size": 1, "gamma": 0.5}},
    "scheduler_by_iteration": {"ExponentialLR": {"gamma": 0.9}},
    "scheduler_by_plateau": {"ReduceLROnPlateau": {"mode": "max", "patience": 0, "factor": 0.1}},
}


def test_the_hosts_schedulers_are_refused_by_its_trainer(getter: Any) -> None:
    sources = parts()
    specs = entries(scheduler_by_epoch=SCHEDULERS["scheduler_by_epoch"])
    built = create(getter, specs, sources, OptimizerFactory)
    with pytest.raises(AssertionError, match="lr_schedulers keys must be one of"):
        make_trainer(*sources, built)


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")
def test_schedulers_step_when_the_trainer_says_so(getter: Any) -> None:
    """0.01 * 0.9 by iteration, * 0.5 by epoch, * 0.1 when accuracy stops rising."""
    sources = parts()
    built = create(getter, entries(**SCHEDULERS), sources)
    assert set(built[1]) == {f"trunk_{name}" for name in SCHEDULERS}
    trainer = make_trainer(*sources, built)
    rate = built[0]["trunk_optimizer"].param_groups[0]
    trainer.step_lr_schedulers(end_of_epoch=False)
    assert rate["lr"] == pytest.approx(0.009)
    trainer.step_lr_schedulers(end_of_epoch=True)
    assert rate["lr"] == pytest.approx(0.0045)
    trainer.step_lr_plateau_schedulers(0.7)
    trainer.step_lr_plateau_schedulers(0.6)
    assert rate["lr"] == pytest.approx(0.00045)
    assert built[0]["embedder_optimizer"].param_groups[0]["lr"] == 0.01


@pytest.mark.filterwarnings("ignore:Detected call of .lr_scheduler.step")
def test_a_scheduler_that_asks_for_it_is_told_the_length_of_the_training(full_getter: Any) -> None:
    """Four epochs: a tenth in the last one. A length in the config has the last word."""
    for given, low_from in (({}, 4), ({"num_epochs": 8}, 7)):
        specs = entries(scheduler_by_epoch={"FinalStepLR": given})
        kwargs = {"param_sources": list(parts()), "num_epochs": 4}
        built = SladeOptimizerFactory(getter=full_getter).create(named_specs=specs, kwargs=kwargs)
        seen = []
        for _ in range(8):
            seen.append(built[0]["trunk_optimizer"].param_groups[0]["lr"])
            built[1]["trunk_scheduler_by_epoch"].step()
        expected = [0.01] * (low_from - 1) + [0.001] * (9 - low_from)
        assert seen == pytest.approx(expected)


@pytest.mark.parametrize("key", ["scheduler_by_iteration", "scheduler_by_plateau"])
def test_a_scheduler_of_epochs_is_refused_elsewhere(full_getter: Any, key: str) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"trunk_optimizer\.{key}: FinalStepLR counts epochs; expected it under scheduler",
    ):
        create(full_getter, entries(**{key: {"FinalStepLR": {}}}))


def test_second_split_scheme_gets_the_same(getter: Any) -> None:
    """The host empties the config while building from it."""
    specs = entries(**SCHEDULERS, clip_grad_norm=1.0)
    before = copy.deepcopy(specs)
    factory = SladeOptimizerFactory(getter=getter)
    built = [
        factory.create(named_specs=specs, kwargs={"param_sources": list(parts())}) for _ in "ab"
    ]
    assert specs == before
    assert [list(d) for d in built[0]] == [list(d) for d in built[1]]
    assert len(built[1][1]) == 3


def test_the_host_cannot_clip(getter: Any) -> None:
    with pytest.raises(NameError, match="gradient_clipper"):
        create(getter, entries(clip_grad_norm=1.0), factory=OptimizerFactory)


def test_clipper_scales_the_gradients_every_time(getter: Any) -> None:
    """A trunk of 6 weights and 2 biases with gradients of 1 has norm sqrt(8)."""
    sources = parts()
    built = create(getter, entries(clip_grad_norm=0.5), sources)
    assert list(built[2]) == ["trunk_grad_clipper"]
    trainer = make_trainer(*sources, built)
    trunk, embedder = sources[0]["trunk"], sources[0]["embedder"]
    for _ in range(2):
        for model in (trunk, embedder):
            for parameter in model.parameters():
                parameter.grad = torch.ones_like(parameter)
        trainer.clip_gradients()
        gradients = torch.cat([p.grad.flatten() for p in trunk.parameters() if p.grad is not None])
        assert gradients.norm().item() == pytest.approx(0.5, abs=1e-4)
        assert gradients.min().item() == pytest.approx(0.5 / 8**0.5, abs=1e-4)
        assert all(torch.equal(p.grad, torch.ones_like(p)) for p in embedder.parameters())


def test_clipper_outlives_data_parallel(getter: Any) -> None:
    """The host wraps models after the clippers are made; the parameters stay the same objects."""
    sources = parts()
    built = create(getter, entries(clip_grad_norm=0.5), sources)
    wrapped = torch.nn.DataParallel(sources[0]["trunk"])
    for parameter in wrapped.parameters():
        parameter.grad = torch.ones_like(parameter)
    built[2]["trunk_grad_clipper"]()
    norm = torch.cat([p.grad.flatten() for p in wrapped.parameters() if p.grad is not None]).norm()
    assert norm.item() == pytest.approx(0.5, abs=1e-4)


def test_loss_with_parameters_needs_an_optimizer(getter: Any) -> None:
    specs = entries()
    del specs["metric_loss_optimizer"]
    with pytest.raises(
        ConfigError,
        match=r"loss_funcs\.metric_loss \(NormalizedSoftmaxLoss\) has 1 trainable parameter.*"
        r"never be trained; add metric_loss_optimizer to optimizers \(config_optimizers\)",
    ):
        create(getter, specs)


def test_loss_without_trainable_parameters_needs_none(getter: Any) -> None:
    models, _ = parts()
    frozen = losses.NormalizedSoftmaxLoss(num_classes=2, embedding_size=2).requires_grad_(False)
    specs = entries()
    del specs["metric_loss_optimizer"]
    loss_funcs = {"metric_loss": losses.ContrastiveLoss(), "basis_loss": frozen}
    assert set(create(getter, specs, (models, loss_funcs))[0]) == set(specs)


def test_frozen_model_needs_no_optimizer(getter: Any) -> None:
    specs = entries()
    del specs["trunk_optimizer"]
    assert set(create(getter, specs)[0]) == set(specs)


@pytest.mark.parametrize("key", ["metric_los_optimizer", "metric_loss_optim", "metric_loss"])
def test_key_without_a_module_names_the_nearest(getter: Any, key: str) -> None:
    specs = {**entries(), key: copy.deepcopy(RMSPROP)}
    with pytest.raises(
        ConfigError,
        match=rf"optimizers\.{key} belongs to no model and no loss "
        r"\(did you mean 'metric_loss_optimizer'\?\); expected trunk_optimizer, embedder_opt",
    ):
        create(getter, specs)


def test_module_without_parameters_is_refused(getter: Any) -> None:
    models, _ = parts()
    with pytest.raises(
        ConfigError, match=r"'metric_loss' has no parameters.*remove metric_loss_optimizer from"
    ):
        create(getter, entries(), (models, {"metric_loss": losses.ContrastiveLoss()}))


@pytest.mark.parametrize("specs", [{}, None])
def test_no_optimizers_at_all_are_refused(getter: Any, specs: object) -> None:
    models, _ = parts()
    with pytest.raises(ConfigError, match=r"optimizers is empty.*trunk_optimizer"):
        create(getter, specs, (models, {"metric_loss": losses.ContrastiveLoss()}))


@pytest.mark.parametrize(
    ("trunk", "message"),
    [
        (
            {"RMSprop": {"lr": "1e-6"}},
            r"^optimizers\.trunk_optimizer\.RMSprop: lr is the text '1e-6'.*write 1\.0e-06 ",
        ),
        ({"RMSprop": {"learning_rate": 0.1}}, r"RMSprop takes no argument 'learning_rate'"),
        ({"RMSprop": {"lr": -1.0}}, r"RMSprop cannot be built: ValueError: Invalid learning rate"),
        ({"Adam": {}}, r"expected exactly one optimizer, got 2 \(RMSprop, Adam\)"),
        (
            {"scheduler_by_epoch": {"StepLr": {"step_size": 1}}},
            r"trunk_optimizer\.scheduler_by_epoch: there is no lr_scheduler named 'StepLr' "
            r"\(did you mean 'StepLR'\?\)",
        ),
        (
            {"scheduler_by_epoch": {"StepLR": {"gamma": 0.5}}},
            r"scheduler_by_epoch: StepLR needs 'step_size'",
        ),
        (
            {"scheduler_by_epoch": {"StepLR": {"step_size": 1, "gamma": "5e-1"}}},
            r"scheduler_by_epoch\.StepLR: gamma is the text '5e-1'",
        ),
        ({"clip_grad_norm": 0}, r"clip_grad_norm is 0, expected a number > 0"),
        ({"clip_grad_norm": True}, r"clip_grad_norm is True, expected a number > 0"),
        ({"clip_grad_norm": "1e1"}, r"trunk_optimizer: clip_grad_norm is the text '1e1'"),
        ({"clip_grad_norm": float("nan")}, r"clip_grad_norm is nan, expected a number > 0"),
    ],
)
def test_wrong_entry_is_explained(getter: Any, trunk: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create(getter, entries(**trunk))


def test_unknown_optimizer_names_the_nearest(getter: Any) -> None:
    specs = {**entries(), "trunk_optimizer": {"RMSProp": {"lr": 0.1}}}
    with pytest.raises(ConfigError, match=r"no optimizer named 'RMSProp' \(did you mean 'RMSprop'"):
        create(getter, specs)


@pytest.mark.parametrize("entry", [None, "RMSprop"])
def test_entry_must_be_a_mapping(getter: Any, entry: object) -> None:
    with pytest.raises(ConfigError, match="expected one optimizer with its arguments"):
        create(getter, {**entries(), "trunk_optimizer": entry})


def test_plateau_scheduler_that_falls_with_accuracy_is_warned_about(
    getter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    specs = entries(scheduler_by_plateau={"ReduceLROnPlateau": None})
    with caplog.at_level(logging.WARNING):
        create(getter, specs)
    assert "write mode: max" in caplog.text


def test_plateau_scheduler_with_mode_max_is_not(
    getter: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        create(getter, entries(scheduler_by_plateau=SCHEDULERS["scheduler_by_plateau"]))
    assert caplog.text == ""
