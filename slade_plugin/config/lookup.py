"""Look up registered classes by name, and the arguments they accept.

The host's ``EasyModuleAttributeGetter.get`` turns every problem into an ``AttributeError`` without
text. These functions search the same lists first and report the name, its place in the config and
the nearest valid spelling.
"""

import copy
import inspect
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from slade_plugin.base.errors import ConfigError
from slade_plugin.base.suggestions import first_of, nearest

# Kinds whose registered names are functions: torchvision's model builders, torch.nn.init.
FUNCTION_KINDS = frozenset({"model", "weight_init_func"})

CONSTRUCTOR_ERRORS = (
    TypeError,
    ValueError,
    AttributeError,
    AssertionError,
    LookupError,
    RuntimeError,
)


class Constructor(NamedTuple):
    """Arguments that a class or function accepts.

    Attributes:
        names: Every argument name, the most derived class first.
        required: Names without a default in the most derived constructor.
        open_ended: True if ``**kwargs`` never reach a constructor with a closed list, so any name
            is accepted.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    open_ended: bool


def registered_names(getter: object, kind: str) -> list[str]:
    """List the public names of one kind, sorted.

    Args:
        getter: The host's ``PytorchGetter``.
        kind: "loss", "miner", "optimizer", ...

    Returns:
        Names of classes; for the kinds in `FUNCTION_KINDS` also of functions. Modules, constants
        and private names are left out.

    Raises:
        ConfigError: If the kind is unknown.
    """
    names: set[str] = set()
    for entry in _entries(getter, kind):
        if inspect.ismodule(entry):
            names.update(
                name
                for name, value in vars(entry).items()
                if not name.startswith("_") and _is_constructible(value, kind)
            )
        else:
            names.add(entry.__name__)
    return sorted(names)


def find_class(getter: object, kind: str, name: str, where: str = "") -> Callable[..., Any]:
    """Find the class (or, for models and weight inits, function) that the host would use.

    Args:
        getter: The host's ``PytorchGetter``.
        kind: "loss", "miner", "optimizer", ...
        name: The name in the config.
        where: Place in the config, for the message.

    Returns:
        The first match in registration order.

    Raises:
        ConfigError: If no class of this kind has the name.
    """
    for entry in _entries(getter, kind):
        found = vars(entry).get(name) if inspect.ismodule(entry) else entry
        if found is None or (not inspect.ismodule(entry) and entry.__name__ != name):
            continue
        if _is_constructible(found, kind) and not str(name).startswith("_"):
            result: Callable[..., Any] = found
            return result
    names = registered_names(getter, kind)
    raise ConfigError(
        f"{_place(where)}there is no {kind} named {name!r}{nearest(str(name), names)}; expected "
        f"one of the {len(names)} registered names, such as {first_of(names, limit=8)}"
    )


def constructor(target: Callable[..., Any]) -> Constructor:
    """Collect the arguments of a class or function, following ``**kwargs`` up the base classes."""
    names: dict[str, None] = {}
    required: list[str] | None = None
    for init in _constructors(target):
        try:
            parameters = list(inspect.signature(init).parameters.values())
        except (TypeError, ValueError):  # built-in without a signature
            return Constructor(tuple(names), tuple(required or ()), open_ended=True)
        if inspect.isclass(target):
            parameters = parameters[1:]  # self
        by_name = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        names.update(dict.fromkeys(p.name for p in by_name))
        if required is None:
            required = [p.name for p in by_name if p.default is p.empty]
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return Constructor(tuple(names), tuple(required), open_ended=False)
    # Without a constructor of its own: object() takes nothing.
    return Constructor(tuple(names), tuple(required or ()), open_ended=required is not None)


def check_arguments(
    cls: Callable[..., Any],
    kwargs: Mapping[str, object],
    where: str,
    provided: Collection[str] | None = None,
) -> None:
    """Reject arguments that a class does not take.

    Args:
        cls: A class or a function.
        kwargs: The arguments of the config.
        where: Place in the config, for the message.
        provided: Arguments that the program adds. If given, required arguments that neither config
            nor program supplies are rejected too; None checks unknown names only.

    Raises:
        ConfigError: Naming the class, the argument and the nearest valid one.
    """
    accepted = constructor(cls)
    added = frozenset(provided or ())
    if not accepted.open_ended:
        for name in kwargs:
            if name not in accepted.names:
                choices = [valid for valid in accepted.names if valid not in added]
                raise ConfigError(
                    f"{_place(where)}{cls.__name__} takes no argument {name!r}"
                    f"{nearest(str(name), choices)}; expected {first_of(choices, limit=30)}"
                )
    if provided is not None:
        missing = [name for name in accepted.required if name not in kwargs and name not in added]
        if missing:
            raise ConfigError(
                f"{_place(where)}{cls.__name__} needs {', '.join(map(repr, missing))}; "
                f"add it below {cls.__name__}"
            )


def check_numbers(kwargs: Mapping[str, object], where: str) -> None:
    """Reject numbers that YAML read as text.

    YAML 1.1 reads ``1e-6`` as a string: the mantissa needs a point, the exponent a sign.

    Args:
        kwargs: The arguments of the config.
        where: Place in the config, for the message.

    Raises:
        ConfigError: With the spelling that YAML reads as a number.
    """
    for name, value in kwargs.items():
        if not isinstance(value, str):
            continue
        try:
            number = float(value)
        except ValueError:
            continue
        raise ConfigError(
            f"{_place(where)}{name} is the text {value!r}, expected a number; "
            f"write {_yaml_number(number)} (YAML reads 1e-6 as text and 1.0e-6 as a number)"
        )


def resolve(
    getter: object, kind: str, spec: object, where: str
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Split a config entry ``{ClassName: {argument: value}}`` into class and arguments.

    Args:
        getter: The host's ``PytorchGetter``.
        kind: "loss", "miner", ...
        spec: The entry. ``{ClassName: null}`` means no arguments.
        where: Place in the config, for the message.

    Returns:
        The class and a deep copy of its arguments, so the config is never modified.

    Raises:
        ConfigError: If the entry is not one class with a mapping, or the class is unknown.
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(
            f"{_place(where)}got {spec!r}, expected one {kind} with its arguments, "
            f"as in {{{spec if isinstance(spec, str) else 'ClassName'}: {{}}}}"
        )
    if len(spec) != 1:
        names = ", ".join(map(str, spec)) or "none"
        raise ConfigError(
            f"{_place(where)}expected exactly one {kind}, got {len(spec)} ({names}); to replace "
            f"the config file's, write the key as '{where.rpartition('.')[2]}~OVERRIDE~'"
        )
    ((name, arguments),) = spec.items()
    found = find_class(getter, kind, name, where)
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, Mapping):
        raise ConfigError(
            f"{_place(where)}the arguments of {name} are {arguments!r}, expected a mapping "
            "argument: value"
        )
    return found, copy.deepcopy(dict(arguments))


@contextmanager
def constructor_errors(name: str, where: str) -> Iterator[None]:
    """Turn a constructor's exception into a `ConfigError` that keeps its text.

    Args:
        name: The class under construction.
        where: Place in the config, for the message.

    Raises:
        ConfigError: In place of `CONSTRUCTOR_ERRORS`. The plugin's own errors pass through.
    """
    try:
        yield
    except CONSTRUCTOR_ERRORS as error:
        # Many of the host's assertions have no text; their source line shows what was expected.
        text = str(error) or traceback.extract_tb(error.__traceback__)[-1].line
        raise ConfigError(
            f"{_place(where)}{name} cannot be built: {type(error).__name__}: {text}"
        ) from error


def resolve_checked(
    getter: object, kind: str, spec: object, where: str
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Run `resolve`, then check the arguments with `check_arguments` and `check_numbers`."""
    found, kwargs = resolve(getter, kind, spec, where)
    check_arguments(found, kwargs, where)
    check_numbers(kwargs, where)
    return found, kwargs


def build(getter: object, kind: str, spec: object, where: str) -> Any:
    """Build one object from its config entry; every error names its place.

    Args:
        getter: The host's ``PytorchGetter``.
        kind: "distance", "reducer", ...
        spec: ``{ClassName: {argument: value}}``.
        where: Place in the config, for the message.

    Raises:
        ConfigError: If the name, an argument or a value is wrong.
    """
    found, kwargs = resolve_checked(getter, kind, spec, where)
    with constructor_errors(found.__name__, where):
        return found(**kwargs)


def _entries(getter: object, kind: str) -> list[Any]:
    """List the modules and classes registered for a kind."""
    entries = getattr(getter, kind, None)
    if not isinstance(entries, list):
        kinds = [name for name, value in vars(getter).items() if isinstance(value, list)]
        raise ConfigError(
            f"nothing is registered as {kind!r}{nearest(kind, kinds)}; expected "
            f"{first_of(kinds, limit=40)}"
        )
    return entries


def _is_constructible(value: object, kind: str) -> bool:
    """Whether a config can build this attribute of a registered module."""
    return inspect.isclass(value) or (kind in FUNCTION_KINDS and inspect.isfunction(value))


def _constructors(target: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return the function itself, or each ``__init__`` of the class in order of super calls."""
    if not inspect.isclass(target):
        return [target]
    # torch's Module takes **kwargs only to reject them, object takes none: both end the chain.
    ends = {("builtins", "object"), ("torch.nn.modules.module", "Module")}
    found: list[Callable[..., Any]] = []
    for base in target.__mro__:
        if (base.__module__, base.__qualname__) in ends:
            break
        if "__init__" in vars(base):
            found.append(vars(base)["__init__"])
    return found


def _yaml_number(number: float) -> str:
    """Format a number so that YAML 1.1 reads it as a number."""
    text = repr(number)
    mantissa, exponent_mark, exponent = text.partition("e")
    if not exponent_mark:
        return text
    sign = "" if exponent.startswith(("-", "+")) else "+"
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}e{sign}{exponent}"


def _place(where: str) -> str:
    return f"{where}: " if where else ""
