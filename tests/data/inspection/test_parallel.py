import os

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.inspection.parallel import over_files


@pytest.mark.parametrize("workers", [0, 2])
def test_results_are_in_the_order_of_the_items(workers: int) -> None:
    words = [f"{n}" for n in range(70)]
    assert over_files(len, words, workers, "Counting") == [1] * 10 + [2] * 60


def test_other_processes_do_the_work() -> None:
    (pid,) = over_files(_pid, [None], 1, "Asking")
    assert pid != os.getpid()
    assert over_files(_pid, [None], 0, "Asking") == [os.getpid()]


def test_nothing_to_do() -> None:
    assert over_files(len, [], 1, "Counting") == []


@pytest.mark.filterwarnings("ignore")  # torch's own, on the way out
def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(DataError, match=r"Dying: a process ended near a\.jpg: .*--workers 0"):
        over_files(_die, ["a.jpg"], 1, "Dying")


def test_an_error_in_the_function_is_not_hidden() -> None:
    with pytest.raises(RuntimeError, match="a bug"):
        over_files(_fail, ["a.jpg"], 0, "Failing")


def _pid(item: object) -> int:
    return os.getpid()


def _die(item: object) -> None:
    os._exit(1)


def _fail(item: object) -> None:
    raise RuntimeError("a bug")
