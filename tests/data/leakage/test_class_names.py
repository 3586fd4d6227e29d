import pytest

from slade_plugin.data.leakage.class_names import normalized, same_names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("001.Black_footed_Albatross", "black footed albatross"),
        ("Black-footed Albatross", "black footed albatross"),
        ("Mallard (Breeding male)", "mallard"),
        ("059.Heermann_Gull", "heermann gull"),
        ("Brewer's Blackbird", "brewers blackbird"),
        ("Brewer\u2019s Blackbird", "brewers blackbird"),
        ("Audi A5 Coupe 2012", "audi a5 coupe"),
        ("  Citro\u00ebn   C4", "citroen c4"),
        ("2012", "2012"),
        ("\u9e1f", "\u9e1f"),
        ("(unknown)", ""),
    ],
)
def test_normalized(name: str, words: str) -> None:
    assert normalized(name) == words


def test_same_names_finds_every_pair_in_order() -> None:
    pool = ["Mallard (Breeding male)", "Osprey", "Mallard (Female)", "?"]
    evaluated = ["010.Mallard", "012.Mute_Swan", "!"]
    assert same_names(pool, evaluated) == [
        ("Mallard (Breeding male)", "010.Mallard"),
        ("Mallard (Female)", "010.Mallard"),
    ]


def test_names_without_words_are_the_same_as_nothing() -> None:
    assert same_names(["(a)", "..."], ["(a)", ""]) == []
