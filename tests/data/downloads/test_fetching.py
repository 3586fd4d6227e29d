"""A server of this process stands for the source, with the faults that sources have."""

import fcntl
import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slade_plugin.base.errors import DataError
from slade_plugin.data.downloads import fetching
from slade_plugin.data.downloads.fetching import Archive, fetch

CONTENT = bytes(range(256)) * 40  # 10,240 bytes


@dataclass
class Source:
    """What the server does, and what it was asked for."""

    url: str = ""
    content: bytes = CONTENT
    knows_ranges: bool = True
    names_length: bool = True
    stops_after: list[int] = field(default_factory=list)  # bytes of a reply, by request
    statuses: list[int] = field(default_factory=list)  # by request, before it answers well
    ranges: list[str | None] = field(default_factory=list)  # asked for


def handler(source: Source) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers["Range"]
            source.ranges.append(asked)
            if source.statuses:
                self.send_error(source.statuses.pop(0))
                return
            start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
            start = start if source.knows_ranges else 0
            self.send_response(206 if start else 200)
            body = source.content[start:]
            if source.names_length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: source.stops_after.pop(0) if source.stops_after else None])

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    monkeypatch.setattr(fetching, "_PAUSE_S", 0)
    source = Source()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(source)) as server:
        source.url = f"http://127.0.0.1:{server.server_port}/birds.tgz"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield source
        server.shutdown()
        thread.join()


def birds(source: Source, content: bytes = CONTENT) -> Archive:
    digest = hashlib.sha256(content).hexdigest()
    return Archive(source.url, "birds.tgz", len(content), digest, "", "birds")


def test_a_file_is_fetched_once(source: Source, tmp_path: Path) -> None:
    path = fetch(birds(source), tmp_path)
    assert path == tmp_path / "birds.tgz"
    assert path.read_bytes() == CONTENT
    assert fetch(birds(source), tmp_path) == path
    assert source.ranges == [None]
    assert list(tmp_path.iterdir()) == [path]


def test_a_broken_connection_goes_on_where_it_broke(source: Source, tmp_path: Path) -> None:
    source.stops_after = [1000, 500]
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    assert source.ranges == [None, "bytes=1000-", "bytes=1500-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(source: Source, tmp_path: Path) -> None:
    source.statuses = [404]
    (tmp_path / "birds.tgz.part").write_bytes(CONTENT[:3000])
    with pytest.raises(DataError, match=r"HTTP Error 404.*Got 3000 of 10240 bytes.*resumes there"):
        fetch(birds(source), tmp_path)
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    assert source.ranges == ["bytes=3000-", "bytes=3000-"]
    assert not (tmp_path / "birds.tgz.part").exists()


def test_a_source_without_ranges_is_read_from_its_beginning(source: Source, tmp_path: Path) -> None:
    source.knows_ranges = False
    (tmp_path / "birds.tgz.part").write_bytes(CONTENT[:3000])
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    assert source.ranges == ["bytes=3000-"]


def test_a_source_that_says_no_length_is_read_to_its_end(source: Source, tmp_path: Path) -> None:
    source.names_length = False
    source.content = CONTENT + b"more"
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    source.content = CONTENT[:-1]
    with pytest.raises(DataError, match=r"ended early\. Got 10239 of 10240"):
        fetch(birds(source), _folder(tmp_path / "short"))


def test_a_part_that_is_too_long_is_thrown_away(source: Source, tmp_path: Path) -> None:
    (tmp_path / "birds.tgz.part").write_bytes(CONTENT + b"x")
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    assert source.ranges == [None]


def test_a_busy_source_is_asked_again_and_not_for_ever(source: Source, tmp_path: Path) -> None:
    source.statuses = [503, 429, 500]
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    source.statuses = [503] * 9
    with pytest.raises(DataError, match=r"HTTP Error 503.*to .*birds\.tgz; the same command then"):
        fetch(birds(source), _folder(tmp_path / "again"))
    assert len(source.statuses) == 9 - fetching._ATTEMPTS


def test_a_source_that_is_away_is_named(source: Source, tmp_path: Path) -> None:
    away = Archive("http://127.0.0.1:9/birds.tgz", "birds.tgz", 9, "0" * 64, "", "birds")
    with pytest.raises(
        DataError, match=r"http://127\.0\.0\.1:9/birds\.tgz cannot be read.*refused"
    ):
        fetch(away, tmp_path)


def test_another_file_is_refused_before_it_is_read(source: Source, tmp_path: Path) -> None:
    source.content = b"<html>This record has moved.</html>"
    with pytest.raises(DataError, match="offers 35 bytes, another file or a page"):
        fetch(birds(source), tmp_path)
    assert (tmp_path / "birds.tgz.part").stat().st_size == 0


def test_a_wrong_hash_leaves_nothing(source: Source, tmp_path: Path) -> None:
    source.content = CONTENT[::-1]
    with pytest.raises(DataError, match=r"SHA-256 [0-9a-f]{64}; expected .*it was deleted"):
        fetch(birds(source), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_put_there_by_hand_is_checked_and_kept(source: Source, tmp_path: Path) -> None:
    (tmp_path / "birds.tgz").write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"\(10239 bytes\) has SHA-256 .* \(10240 bytes\).*delete"):
        fetch(birds(source), tmp_path)
    assert (tmp_path / "birds.tgz").exists()
    assert source.ranges == []


def test_a_second_process_is_told_to_wait(source: Source, tmp_path: Path) -> None:
    with open(tmp_path / "birds.tgz.part", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"birds\.tgz\.part is being written by another"):
            fetch(birds(source), tmp_path)


@pytest.mark.usefixtures("no_locks")
def test_without_locks_it_is_fetched_with_a_warning(
    source: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert fetch(birds(source), tmp_path).read_bytes() == CONTENT
    assert "cannot be locked (No locks available)" in caplog.text


def test_too_small_a_disk_is_refused_before_the_download(source: Source, tmp_path: Path) -> None:
    """2**62 bytes are wanted: the real disk is asked."""
    huge = Archive(source.url, "birds.tgz", 1 << 62, "0" * 64, "", "birds")
    with pytest.raises(DataError, match=r"GB free; expected 9223372036\.9 GB, for the rest of"):
        fetch(huge, tmp_path)
    assert source.ranges == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's always full device")
def test_a_disk_that_fills_up_is_named(source: Source, tmp_path: Path) -> None:
    (tmp_path / "birds.tgz.part").symlink_to("/dev/full")
    with pytest.raises(DataError, match=re.escape("birds.tgz.part: No space left on device")):
        fetch(birds(source), tmp_path)


def test_a_folder_that_is_absent_is_named(source: Source, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere/birds\.tgz\.part: No such file"):
        fetch(birds(source), tmp_path / "nowhere")


def _folder(path: Path) -> Path:
    path.mkdir()
    return path
