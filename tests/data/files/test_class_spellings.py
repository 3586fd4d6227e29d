import unicodedata

import pytest

from slade_plugin.data.files.class_spellings import (
    describe_groups,
    merge_names,
    similar_names,
    spelling_key,
)

DECOMPOSED = unicodedata.normalize("NFD", "café")


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("Cars", "cars"),
        ("cup ", "cup"),
        ("\tcup", "cup"),
        ("tea  cup", "tea cup"),
        ("tea_cup", "tea-cup"),
        ("tea\u00a0cup", "Tea Cup"),
        ("café", DECOMPOSED),
        ("\uff23\uff35\uff30", "cup"),
        ("\ufb01g", "fig"),
        ("Stra\u00dfe", "STRASSE"),
        ("cup\u200b", "cup"),
        ("\ufeffcup", "cup"),
        ("l\u2019eau", "l'eau"),
        ("7", "7.0"),
        ("7", "007"),
        ("0", "0.00"),
        ("-1", "\u22121.0"),
        ("+7", "7"),
        ("tea - cup", "tea\u2013cup"),
        ("_cup_", "cup"),
    ],
)
def test_spellings_of_one_name(name: str, other: str) -> None:
    assert spelling_key(name) == spelling_key(other)
    assert similar_names([name, "else", other]) == [[name, other]]


@pytest.mark.parametrize(
    ("name", "other"),
    [("cup", "cups"), ("cafe", "café"), ("7", "70"), ("7.5", "7"), ("10-2", "102"), ("a b", "ab"),
     ("ver 1.0", "ver 1"), ("-1", "1"), ("A-", "A"), ("-cup", "cup")],
)  # fmt: skip
def test_different_names(name: str, other: str) -> None:
    assert spelling_key(name) != spelling_key(other)
    assert similar_names([name, other]) == []


def test_the_commonest_spelling_is_kept_and_of_equal_ones_the_first() -> None:
    assert merge_names(["Cup", "cup", "cup", "7.0", "7", "mug"]) == [
        "cup", "cup", "cup", "7", "7", "mug",
    ]  # fmt: skip


def test_what_looks_alike_is_written_out() -> None:
    assert describe_groups([["cup", "cup "]]) == "'cup' = 'cup '"
    assert describe_groups([["café", DECOMPOSED]]) == r"'caf\xe9' = 'cafe\u0301'"
    assert describe_groups([["a", "A"]] * 5).endswith("'a' = 'A'; and 2 more")
