"""Call one function on many files, in processes, with a progress bar."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from slade_plugin.base.errors import DataError
from slade_plugin.base.machine import usable_cores

_FILES_AT_A_TIME = 32


def over_files(
    function: Callable[[Any], Any], items: Sequence[Any], workers: int, title: str
) -> list[Any]:
    """Call a function with each item; the results are in the order of the items.

    Args:
        function: Of one item. Its result can be pickled.
        items: Paths, or one object a path.
        workers: Processes; 0 for this one alone. At most `usable_cores` are started.
        title: For the progress bar.

    Returns:
        One result an item.

    Raises:
        DataError: If a process dies, as when the memory is full.
    """
    loader = DataLoader(
        _Results(function, items),
        batch_size=_FILES_AT_A_TIME,
        num_workers=min(workers, usable_cores()),
        collate_fn=list,
    )
    results: list[Any] = []
    try:
        with tqdm(total=len(items), desc=title, unit="file", disable=None) as bar:
            for batch in loader:
                results += batch
                bar.update(len(batch))
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        near = items[min(len(results), len(items) - 1)]
        raise DataError(
            f"{title}: a process ended near {near}: {error} The memory may be full. "
            "--workers 0 uses this process only."
        ) from error
    return results


class _Results(Dataset[Any]):
    def __init__(self, function: Callable[[Any], Any], items: Sequence[Any]) -> None:
        self._function = function
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        return self._function(self._items[index])
