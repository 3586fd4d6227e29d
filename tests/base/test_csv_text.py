import csv
import io

import pytest

from slade_plugin.base.csv_text import csv_text


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_rows_are_read_back(end: str) -> None:
    text = csv_text(["a", "b"], [[1.5, None], ["x, y", 'a "quote"']], end)
    assert text.startswith(f"a,b{end}1.5,{end}")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert rows == [["a", "b"], ["1.5", ""], ["x, y", 'a "quote"']]


def test_without_rows_there_is_a_header() -> None:
    assert csv_text(["a"], []) == "a\n"
