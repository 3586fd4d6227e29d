"""Pretrained weights: found or downloaded, counted, hashed.

Public files differ in what they wrap around a trunk. Read here: a state dict, alone or under
"state_dict" or "model", with the prefix "module." of ``DataParallel`` or without it. What the trunk
has no place for is left over: the projection head and the prototypes of SwAV (Caron et al., 2020,
files of github.com/facebookresearch/swav), the classifier of a supervised model.
"""

import hashlib
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torch.utils import model_zoo
from torchvision.models import WeightsEnum

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.base.files import sha256_of_file

_WRAPPERS = ("state_dict", "model")
_PREFIX = "module."
# A counter that files of before torch 0.4.1 lack; it moves no number here.
_MAY_BE_MISSING = "num_batches_tracked"

_skipped = ContextVar("_skipped", default=False)


@dataclass(frozen=True)
class LoadedWeights:
    """Where the weights of a trunk come from.

    Attributes:
        source: What the config named.
        sha256: Of the file; None where a library read it.
        tensors: How many of the trunk's tensors were loaded; where a library did it, all it has.
        left_over: Tensors of the file that the trunk has no place for, by the first part of their
            names; None where a library read it.
        state_sha256: Of the loaded tensors, where a library read the file.
    """

    source: str
    sha256: str | None
    tensors: int
    left_over: dict[str, int] | None
    state_sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """What is known, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@contextmanager
def without_published_weights() -> Iterator[None]:
    """Build models within it as if their published weights were loaded, but reads no file.

    For models whose trained weights are loaded next: then nothing has to be downloaded. Whatever
    else the name of the weights sets (mean, std, color space, transforms of the input) is kept.
    torchvision and pretrainedmodels cannot do this themselves.
    """
    token = _skipped.set(True)
    try:
        with (
            patch.object(WeightsEnum, "get_state_dict", lambda *_, **__: {}),
            patch.object(model_zoo, "load_url", lambda *_, **__: {}),
            patch.object(nn.Module, "load_state_dict", lambda *_, **__: None),
        ):
            yield
    finally:
        _skipped.reset(token)


def are_skipped() -> bool:
    """Whether published weights are skipped at the moment."""
    return _skipped.get()


def find_weight_file(source: str) -> Path:
    """The file behind a local path or an address, downloaded at its first use.

    Args:
        source: A path, or an address that begins with http://, https:// or file://. A download
            goes to torch's folder of checkpoints (``--pytorch_home``).

    Raises:
        ConfigError: If there is no such file, or it cannot be downloaded.
    """
    if urlparse(source).scheme not in ("http", "https", "file"):
        if not Path(source).is_file():
            raise ConfigError(
                f"there is no weight file {source}; expected a path or an address. Change weights "
                "in config_models."
            )
        return Path(source)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(urlparse(source).path).name
    if not path.is_file():
        in_name = re.search(r"-([a-f0-9]{8,})\.", path.name)  # torchvision's names end in a hash
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(source, str(path), in_name and in_name.group(1))
        except (OSError, RuntimeError) as error:  # URLError is an OSError
            raise ConfigError(
                f"{source} cannot be downloaded: {error}. Put the file at {path} yourself, or name "
                "a local path as weights in config_models."
            ) from error
    return path


def load_weights(trunk: nn.Module, source: str, sha256: str | None = None) -> LoadedWeights:
    """Load a file into a trunk: every tensor of the trunk, or an error.

    Args:
        trunk: Without its classifier. Changed in place.
        source: A path or an address.
        sha256: What the file has to be, or the first digits of it; None takes any.

    Returns:
        What was loaded and what was left over.

    Raises:
        ConfigError: If the file is missing or has another hash.
        CheckpointError: If it is no weight file or lacks a tensor of the trunk.
    """
    if are_skipped():
        return LoadedWeights(source, None, 0, None)
    path = find_weight_file(source)
    found_sha256 = sha256_of_file(path)
    if sha256 is not None and not (sha256 and found_sha256.startswith(sha256.lower())):
        raise ConfigError(
            f"the weight file {path} has the SHA-256 {found_sha256}; expected {sha256}. Restore "
            "the file or change sha256 in config_models."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"the weight file {path} cannot be read: {error}; expected a state dict saved by torch."
        ) from error
    state = _tensors(content)
    wanted = trunk.state_dict()
    fitting = {k: v for k, v in state.items() if k in wanted and v.shape == wanted[k].shape}
    missing = [k for k in wanted if k not in fitting and not k.endswith(_MAY_BE_MISSING)]
    if missing:
        other = [k for k in missing if k in state]
        shapes = (
            f", for example {other[0]} is {tuple(state[other[0]].shape)} there and "
            f"{tuple(wanted[other[0]].shape)} here"
            if other
            else ""
        )
        raise CheckpointError(
            f"the weight file {path} fits {len(fitting)} of the trunk's {len(wanted)} tensors; "
            f"expected all of them. It holds {len(state)}, such as {_some(state)}; the trunk lacks "
            f"{_some(missing)} ({len(other)} have another shape{shapes}). Name the architecture "
            "that the file belongs to in config_models."
        )
    trunk.load_state_dict(fitting, strict=False)
    left_over = Counter(k.split(".")[0] for k in state if k not in fitting)
    return LoadedWeights(source, found_sha256, len(fitting), dict(left_over))


def loaded_by_library(trunk: nn.Module, source: str) -> LoadedWeights:
    """What is known of weights that a library has loaded: the trunk's tensors, all of them.

    Args:
        trunk: As the library made it, without its classifier.
        source: What the library calls them.
    """
    return LoadedWeights(source, None, len(trunk.state_dict()), None, state_sha256(trunk))


def name_in_library(build: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """What the weights are called that torchvision or pretrainedmodels give a model; None if none.

    Args:
        build: A class or function of models. Those of pretrainedmodels load weights by default.
        arguments: Of the config.
    """
    parameters = inspect.signature(build).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    given = {**defaults, **arguments}
    named = [f"{key} {given[key]}" for key in ("weights", "pretrained") if given.get(key)]
    return f"{build.__name__}, {named[0]}" if named else None


def state_sha256(model: nn.Module) -> str:
    """A hash over the names and bytes of all parameters and buffers of a model."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _tensors(content: Any) -> dict[str, Tensor]:
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    entries = content.items() if isinstance(content, Mapping) else ()
    return {str(k).removeprefix(_PREFIX): v for k, v in entries if isinstance(v, Tensor)}


def _some(names: Any) -> str:
    first = list(names)[:3]
    return ", ".join(first) + (", ..." if len(names) > len(first) else "") or "nothing"
