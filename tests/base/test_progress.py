import fcntl
import io
import os
import pty
import struct
import sys
import termios

import pytest

from slade_plugin.base import progress
from slade_plugin.base.progress import Position, Progress, current


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list that a test changes."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def at(epoch: int, within: float, scheme: int = 1, schemes: int = 1, epochs: int = 4) -> Position:
    return Position(scheme, schemes, epoch, epochs, within)


def test_the_share_counts_epochs_of_all_split_schemes() -> None:
    """Second of two schemes, half of the third of four epochs: (1 + 2.5 / 4) / 2."""
    assert at(3, 0.5, scheme=2, schemes=2).share == pytest.approx(0.8125)
    assert at(1, 0).share == 0
    assert at(4, 1).share == 1


def test_time_left_by_hand(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    """A quarter of 400 images in 10 s: 30 s for the rest of the part, and 20 s for 200 more."""
    run = Progress([("teacher", 400), ("pseudo labels", 0), ("student", 200)])
    with run.part(0):
        assert current() is run
        current().step(at(1, 0), 2.0, "")
        clock[0] += 10
        current().step(at(1, 1), 1.5, "")
        current().epoch(at(1, 1), 1.5, ", val MAP@R 40.00 (best 41.00)")
    assert capsys.readouterr().out == (
        "      [1/3] teacher: epoch 1/4, loss 1.500, val MAP@R 40.00 (best 41.00), "
        "00:30 left (00:50 in all)\n"
    )
    assert current() is not run


def test_what_comes_between_two_parts_is_not_measured(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    run = Progress([("a", 100), ("b", 100)])
    with run.part(0):
        run.step(at(1, 0), 1, "")
        clock[0] += 4
        run.step(at(4, 1), 1, "")
    clock[0] += 1000
    with run.part(1):
        run.step(at(3, 0), 1, "")  # resumed in the middle
        run.epoch(at(3, 0), 1, "")
    assert "epoch 3/4, loss 1.000, 00:02 left (00:02 in all)" in capsys.readouterr().out


def test_the_split_scheme_is_named_if_there_are_several(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Progress([("training", 1)]).epoch(at(1, 1, scheme=2, schemes=3), 0.25, "")
    expected = "      training: split scheme 2/3, epoch 1/4, loss 0.250\n"
    assert capsys.readouterr().out == expected


def test_a_terminal_has_one_line_that_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    run = Progress([("student (of the second round)", 1)])
    with run.part(0):
        for step in range(3):
            run.step(at(1, step / 3), 0.5, "")
        run.epoch(at(1, 1), 0.5, "")
    drawn = screen.getvalue()
    assert "student: epoch 1/4, loss 0.500" in drawn
    assert "\n" not in drawn
    assert drawn.split("\r")[-2].strip() == ""  # wiped
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("size", [(40, 120), (24, 60), (0, 0)])  # 0: as `script` and CI give it
def test_a_real_terminal_shows_what_fits(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", *size, 0, 0))
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    line = "student: split scheme 1/2, epoch 1/4, loss 0.500, val MAP@R 40.00 (best 41.00)"
    with open(slave, "w", encoding="utf-8") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setattr(sys, "__stdout__", screen)
        run = Progress([("student", 1)])
        with run.part(0):
            run.step(at(1, 0.5, schemes=2), 0.5, ", val MAP@R 40.00 (best 41.00)")
        drawn = os.read(master, 10000).decode()
    os.close(master)
    columns = size[1] or 80
    assert drawn.strip("\r ").rstrip() == line[: columns - 1]
    assert max(map(len, drawn.split("\r"))) < columns
