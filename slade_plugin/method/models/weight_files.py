"""Find, download, load and hash pretrained weights.

Public files differ in format. Supported: a state dict, alone or under "state_dict" or "model", with
or without the prefix "module." of ``DataParallel``. Tensors that the trunk lacks are left over: the
projection head and prototypes of SwAV (Caron et al., 2020, files of
github.com/facebookresearch/swav), the classifier of a supervised model.
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
from urllib.request import url2pathname

import torch
from torch import Tensor, nn
from torch.utils import model_zoo
from torchvision.models import WeightsEnum

from slade_plugin.base.errors import CheckpointError, ConfigError
from slade_plugin.base.files import sha256_of_file
from slade_plugin.base.suggestions import first_of

_WRAPPERS = ("state_dict", "model")
_PREFIX = "module."
# A counter that files from before torch 0.4.1 lack; it affects no number here.
_MAY_BE_MISSING = "num_batches_tracked"

_skipped = ContextVar("_skipped", default=False)


@dataclass(frozen=True)
class LoadedWeights:
    """Origin of a trunk's weights.

    Attributes:
        source: The source named in the config.
        sha256: Hash of the file; None if a library read it.
        tensors: Number of loaded tensors; all of the trunk's if a library loaded them.
        left_over: Numbers of tensors in the file that the trunk lacks, by the first part of their
            names; None if a library read it.
        state_sha256: Hash of the loaded tensors, if a library read the file.
    """

    source: str
    sha256: str | None
    tensors: int
    left_over: dict[str, int] | None
    state_sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the known fields, ready for JSON."""
        return {key: value for key, value in asdict(self).items() if value is not None}


@contextmanager
def without_published_weights() -> Iterator[None]:
    """Build models inside the block without reading their published weights.

    For models whose trained weights are loaded next, so that nothing is downloaded. Other effects
    of the weights' name (mean, std, color space, input transforms) are kept. torchvision and
    pretrainedmodels cannot do this themselves.
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
    """Whether published weights are currently skipped."""
    return _skipped.get()


def find_weight_file(source: str) -> Path:
    """Find the file of a local path or URL, downloading it on first use.

    Args:
        source: A path, or a URL that begins with http://, https:// or file://. Downloads go to
            torch's checkpoint folder (``--pytorch_home``); a file is read in place.

    Raises:
        ConfigError: If the file does not exist or cannot be downloaded.
    """
    url = urlparse(source)
    if url.scheme not in ("http", "https"):
        path = Path(url2pathname(url.path) if url.scheme == "file" else source).expanduser()
        if not path.is_file():
            raise ConfigError(
                f"there is no weight file {source}; expected a path or a URL. Change weights "
                "in config_models. If the file was moved, give its new path: --models {trunk: "
                "{CLASS: {weights: PATH}}}."
            )
        return path
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / Path(url.path).name
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
        trunk: Trunk without its classifier; modified in place.
        source: A path or a URL.
        sha256: Expected hash of the file, or its first digits; None accepts any.

    Raises:
        ConfigError: If the file is missing or has another hash.
        CheckpointError: If it is not a weight file or lacks a tensor of the trunk.
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
            f"expected all of them. It has {len(state)}, such as {first_of(state)}; the trunk "
            f"lacks {first_of(missing)} ({len(other)} differ in shape{shapes}). Name the "
            "architecture of the file in config_models."
        )
    trunk.load_state_dict(fitting, strict=False)
    left_over = Counter(k.split(".")[0] for k in state if k not in fitting)
    return LoadedWeights(source, found_sha256, len(fitting), dict(left_over))


def loaded_by_library(trunk: nn.Module, source: str) -> LoadedWeights:
    """Describe weights loaded by a library: all tensors of the trunk.

    Args:
        trunk: The library's trunk, without its classifier.
        source: The library's name of the weights.
    """
    return LoadedWeights(source, None, len(trunk.state_dict()), None, state_sha256(trunk))


def name_in_library(build: Callable[..., Any], arguments: Mapping[str, Any]) -> str | None:
    """Return the name of the weights torchvision or pretrainedmodels loads; None if none.

    Args:
        build: A model class or function. Those of pretrainedmodels load weights by default.
        arguments: Its arguments in the config.
    """
    parameters = inspect.signature(build).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
    given = {**defaults, **arguments}
    named = [f"{key} {given[key]}" for key in ("weights", "pretrained") if given.get(key)]
    return f"{build.__name__}, {named[0]}" if named else None


def state_sha256(model: nn.Module) -> str:
    """Hash the names and bytes of all parameters and buffers of a model."""
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
