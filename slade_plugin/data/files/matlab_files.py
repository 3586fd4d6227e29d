"""Read the MATLAB files of the car data sets into plain Python."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from slade_plugin.base.errors import DataError


def read_texts(path: Path, name: str) -> list[str]:
    """Read a cell array of strings from a ``.mat`` file (version 7 or older).

    Args:
        path: The file.
        name: The variable.

    Returns:
        The texts without blanks around them; an empty cell is an empty text.

    Raises:
        DataError: If the file cannot be read or has no such variable.
    """
    return [str(cell).strip() if np.size(cell) else "" for cell in _read(path, name)]


def read_records(path: Path, name: str, fields: Sequence[str]) -> list[list[Any]]:
    """Read a struct array from a ``.mat`` file (version 7 or older).

    Args:
        path: The file.
        name: The variable, a struct array of N elements.
        fields: The fields wanted of each element.

    Returns:
        For each field its N values.

    Raises:
        DataError: If the file cannot be read or lacks the variable or a field.
    """
    records = _read(path, name)
    present = records.dtype.names or ()
    missing = [field for field in fields if field not in present]
    if missing:
        raise DataError(
            f"{path}: {name} has no field {', '.join(missing)}; it has "
            f"{', '.join(present) or 'none'}. Expected the file as published; get it again."
        )
    return [records[field].tolist() for field in fields]


def _read(path: Path, name: str) -> Any:
    """Read one variable as a flat array."""
    try:
        content = loadmat(path, variable_names=[name], squeeze_me=True)
    except Exception as error:  # scipy fails in many ways on a damaged file
        raise DataError(
            f"{path} cannot be read as a MATLAB file: {error or type(error).__name__}. Get it "
            "again."
        ) from error
    if name not in content:
        raise DataError(f"{path} has no variable {name}; expected the file as published.")
    return np.atleast_1d(content[name])
