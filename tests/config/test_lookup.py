"""Names and arguments are checked against the host's own lists."""

import types
from typing import Any

import pytest
import torch
import yaml
from easy_module_attribute_getter import PytorchGetter
from pytorch_metric_learning import losses, miners, reducers

from slade_plugin.base.errors import ConfigError
from slade_plugin.config.lookup import (
    build,
    check_arguments,
    check_numbers,
    constructor,
    constructor_errors,
    find_class,
    registered_names,
    resolve,
    resolve_checked,
)


@pytest.fixture(scope="module")
def getter() -> PytorchGetter:
    getter = PytorchGetter()
    getter.register("loss", losses)
    getter.register("miner", miners)
    getter.register("reducer", reducers)
    getter.register("weight_init_func", torch.nn.init)
    return getter


class Base:
    def __init__(self, base_argument: int = 0) -> None:
        self.base_argument = base_argument


class Middle(Base):
    pass


class Derived(Middle):
    def __init__(self, own: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own = own


class Open:
    def __init__(self, **kwargs: Any) -> None:
        self.kwargs = kwargs


class OpenModule(torch.nn.Module):
    def __init__(self, size: int, **kwargs: Any) -> None:
        super().__init__()
        self.kwargs = kwargs


class Bare:
    pass


def test_registered_names_are_public_classes_only() -> None:
    """A registered module exposes what it imports: here a module, a constant and a function."""
    module = types.ModuleType("plugin_losses")
    vars(module).update(os=types, LIMIT=3, helper=lambda: None, GoodLoss=Base, _Hidden=Base)
    getter = types.SimpleNamespace(loss=[Derived, module])
    assert registered_names(getter, "loss") == ["Derived", "GoodLoss"]


def test_registered_names_hold_the_hosts_losses(getter: PytorchGetter) -> None:
    assert {"ContrastiveLoss", "MultipleLosses"} <= set(registered_names(getter, "loss"))


def test_functions_count_where_the_host_registers_functions(getter: PytorchGetter) -> None:
    assert "resnet18" in registered_names(getter, "model")
    assert find_class(getter, "model", "resnet18").__name__ == "resnet18"
    assert "normal_" in registered_names(getter, "weight_init_func")


def test_unknown_kind_is_named(getter: PytorchGetter) -> None:
    with pytest.raises(ConfigError, match=r"nothing is registered as 'miners' \(did you mean"):
        registered_names(getter, "miners")


def test_find_class_takes_the_first_registered() -> None:
    first, second = types.ModuleType("first"), types.ModuleType("second")
    vars(first)["Base"], vars(second)["Base"] = Derived, Base
    assert find_class(types.SimpleNamespace(loss=[first, second]), "loss", "Base") is Derived


def test_find_class_names_place_and_nearest(getter: PytorchGetter) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^loss_funcs: there is no loss named 'ContrastivLoss' "
        r"\(did you mean 'ContrastiveLoss'\?\); expected one of the \d+ registered names",
    ):
        find_class(getter, "loss", "ContrastivLoss", "loss_funcs")


def test_a_module_is_not_a_loss() -> None:
    module = types.ModuleType("plugin_losses")
    vars(module)["os"] = types
    with pytest.raises(ConfigError, match="there is no loss named 'os'"):
        find_class(types.SimpleNamespace(loss=[module]), "loss", "os")


def test_keywords_are_followed_to_the_base_class() -> None:
    found = constructor(Derived)
    assert found.names == ("own", "base_argument")
    assert found.required == ("own",)
    assert not found.open_ended


def test_the_hosts_losses_are_closed(getter: PytorchGetter) -> None:
    """Every loss and miner hands its keywords up to a closed list, so typing errors show."""
    for kind, module in (("loss", losses), ("miner", miners)):
        checked = 0
        for name in registered_names(getter, kind):
            cls = find_class(getter, kind, name)
            # Mixins stand alone in the same module; they are no losses.
            if hasattr(module, name) and issubclass(cls, torch.nn.Module):
                assert not constructor(cls).open_ended, name
                checked += 1
        assert checked >= 8


@pytest.mark.parametrize("cls", [Open, OpenModule])
def test_keywords_that_end_nowhere_accept_anything(cls: type) -> None:
    assert constructor(cls).open_ended
    check_arguments(cls, {"anything": 1}, "here")


def test_a_class_without_constructor_takes_nothing() -> None:
    with pytest.raises(ConfigError, match="Bare takes no argument 'x'; expected none"):
        check_arguments(Bare, {"x": 1}, "here")


def test_builtin_without_signature_accepts_anything() -> None:
    check_arguments(min, {"x": 1}, "here")


def test_unknown_argument_names_class_argument_and_nearest() -> None:
    with pytest.raises(
        ConfigError,
        match=r"^loss_funcs\.metric_loss: ContrastiveLoss takes no argument 'neg_marginn' "
        r"\(did you mean 'neg_margin'\?\); expected pos_margin",
    ):
        check_arguments(losses.ContrastiveLoss, {"neg_marginn": 1}, "loss_funcs.metric_loss")


def test_inherited_argument_passes() -> None:
    check_arguments(losses.ContrastiveLoss, {"reducer": None, "collect_stats": False}, "here")


def test_missing_argument_is_refused_only_if_the_rest_is_known() -> None:
    check_arguments(Derived, {}, "here")
    check_arguments(Derived, {}, "here", provided=["own"])
    with pytest.raises(ConfigError, match="here: Derived needs 'own'; add it below Derived"):
        check_arguments(Derived, {}, "here", provided=[])


@pytest.mark.parametrize(
    ("text", "spelling"), [("1e-6", r"1\.0e-06"), ("1e20", r"1\.0e\+20"), ("0.5", r"0\.5")]
)
def test_number_read_as_text_shows_the_right_spelling(text: str, spelling: str) -> None:
    with pytest.raises(ConfigError, match=f"here: lr is the text '{text}'.*write {spelling} "):
        check_numbers({"lr": text}, "here")


def test_the_spelling_shown_is_a_number_for_yaml() -> None:
    for text in ("1e-6", "1e20", "2.5e-7", "3"):
        with pytest.raises(ConfigError) as caught:
            check_numbers({"lr": text}, "here")
        spelling = str(caught.value).split("write ")[1].split(" ")[0]
        assert yaml.safe_load(spelling) == float(text)


def test_words_and_numbers_pass() -> None:
    check_numbers({"mode": "max", "lr": 1.0e-6, "betas": ["1e-6"]}, "here")


def test_resolve_copies_the_arguments(getter: PytorchGetter) -> None:
    spec = {"ContrastiveLoss": {"reducer": {"MeanReducer": {}}}}
    _, kwargs = resolve(getter, "loss", spec, "here")
    kwargs["reducer"].clear()
    assert spec == {"ContrastiveLoss": {"reducer": {"MeanReducer": {}}}}


def test_resolve_takes_null_for_no_arguments(getter: PytorchGetter) -> None:
    assert resolve(getter, "loss", {"ContrastiveLoss": None}, "here")[1] == {}


def test_resolve_checked_looks_at_the_arguments_too(getter: PytorchGetter) -> None:
    found, kwargs = resolve_checked(getter, "loss", {"ContrastiveLoss": {"neg_margin": 2}}, "here")
    assert (found.__name__, kwargs) == ("ContrastiveLoss", {"neg_margin": 2})
    with pytest.raises(ConfigError, match="here: ContrastiveLoss takes no argument 'neg_margi'"):
        resolve_checked(getter, "loss", {"ContrastiveLoss": {"neg_margi": 2}}, "here")
    with pytest.raises(ConfigError, match="here: neg_margin is the text '1e-1'"):
        resolve_checked(getter, "loss", {"ContrastiveLoss": {"neg_margin": "1e-1"}}, "here")


def test_two_classes_are_refused_with_the_remedy(getter: PytorchGetter) -> None:
    """Left out ~OVERRIDE~ on the command line: the host dies of 'too many values to unpack'."""
    spec: dict[str, Any] = {"ContrastiveLoss": {}, "TripletMarginLoss": {}}
    with pytest.raises(
        ConfigError,
        match=r"got 2 \(ContrastiveLoss, TripletMarginLoss\).*'metric_loss~OVERRIDE~'",
    ):
        resolve(getter, "loss", spec, "loss_funcs.metric_loss")


@pytest.mark.parametrize("spec", ["ContrastiveLoss", None, ["ContrastiveLoss"]])
def test_anything_but_a_mapping_is_refused(getter: PytorchGetter, spec: object) -> None:
    with pytest.raises(ConfigError, match="expected one loss with its arguments"):
        resolve(getter, "loss", spec, "here")


def test_arguments_must_be_a_mapping(getter: PytorchGetter) -> None:
    with pytest.raises(ConfigError, match=r"the arguments of ContrastiveLoss are 0\.5"):
        resolve(getter, "loss", {"ContrastiveLoss": 0.5}, "here")


def test_build_makes_the_object(getter: PytorchGetter) -> None:
    assert build(getter, "reducer", {"ThresholdReducer": {"low": 0.1}}, "here").low == 0.1


@pytest.mark.parametrize("error", [AttributeError, ValueError, TypeError, AssertionError, KeyError])
def test_constructor_error_keeps_its_text(error: type[Exception]) -> None:
    """The host would swallow a ValueError and lose the text of an AttributeError."""
    with (
        pytest.raises(ConfigError, match=f"here: X cannot be built: {error.__name__}:.*the text"),
        constructor_errors("X", "here"),
    ):
        raise error("the text")
