from pathlib import Path

import numpy as np
import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.leakage import identical_files as module
from slade_plugin.data.leakage.identical_files import identical_files


@pytest.fixture
def find(tmp_path: Path):
    def made(folder: str, contents: list[bytes]) -> tuple[list[Path], np.ndarray]:
        paths = [tmp_path / folder / f"{k}.jpg" for k in range(len(contents))]
        for path, content in zip(paths, contents, strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return paths, np.array([len(content) for content in contents])

    def run(contents: list[bytes], others: list[bytes]) -> list[int]:
        return identical_files(*made("pool", contents), *made("test", others)).tolist()

    return run


def test_equal_bytes_are_found_whatever_the_name(find) -> None:
    assert find([b"one", b"two", b"three"], [b"three", b"four", b"one"]) == [2, -1, 0]


def test_equal_sizes_are_not_enough(find) -> None:
    assert find([b"aaaa", b"aaab"], [b"baaa", b"aaab"]) == [-1, 1]


def test_of_several_the_first_is_named_and_every_copy_is_found(find) -> None:
    assert find([b"x", b"x"], [b"y", b"x", b"x"]) == [1, 1]


def test_agrees_with_comparing_every_pair(find) -> None:
    rng = np.random.default_rng(0)
    contents, others = (
        [bytes(rng.integers(0, 2, size=2 + k % 4)) for k in range(40)] for _ in "ab"
    )
    expected = [others.index(c) if c in others else -1 for c in contents]
    assert -1 in expected
    assert max(expected) > 0
    assert find(contents, others) == expected


def test_files_of_other_sizes_are_not_read(find, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = module.sha256_of_file
    monkeypatch.setattr(module, "sha256_of_file", lambda p: (read.append(p.name), original(p))[1])
    find([b"1", b"22", b"333"], [b"4444", b"33x"])
    assert read == ["2.jpg", "1.jpg"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "there.jpg").write_bytes(b"1")
    gone = tmp_path / "gone.jpg"
    with pytest.raises(DataError, match=r"gone\.jpg.*No such file.*can be read"):
        identical_files([gone], np.array([1]), [tmp_path / "there.jpg"], np.array([1]))
