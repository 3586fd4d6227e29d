"""Text files as other systems write them."""

import os
from pathlib import Path

from slade_plugin.base.errors import DataError

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")  # byte-order marks: Excel's "Unicode text"


def read_text(file: str | os.PathLike[str], expected: str) -> str:
    """Read UTF-8, with or without a byte-order mark, or UTF-16 with one. Line ends stay.

    Args:
        file: The file.
        expected: What it should hold, for the message.

    Raises:
        DataError: If it cannot be read or is not such text.
    """
    try:
        content = Path(file).read_bytes()
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8 text (byte {error.start}); expected {expected}. Unpack an "
            "archive first; save a table as CSV UTF-8."
        ) from error
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error.strerror}; expected {expected}.") from error
    if "\0" in text:
        raise DataError(
            f"{file} holds null characters, as UTF-16 without a byte-order mark does; expected "
            f"{expected}. Save it as UTF-8."
        )
    return text


def lines_of(text: str) -> list[tuple[int, str]]:
    """Return number and stripped content of the non-empty lines.

    Lines end as on any system; U+2028 and the like are part of a line.
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
