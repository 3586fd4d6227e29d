import shlex

from slade_plugin.experiments.studies.shell import typed


def test_a_value_in_braces_is_one_word() -> None:
    words = "--a {b: {c: 1}, d: [e, f]} --config_loss slade --g [h, i] --j 'k l'"
    assert typed([*words.split()[:-2], "k l"]) == (
        "--a '{b: {c: 1}, d: [e, f]}' --config_loss slade --g '[h, i]' --j 'k l'"
    )


def test_a_shell_reads_the_words_again() -> None:
    words = ["--a", "{b: 1}", "--c", "$d", "--e", "it's"]
    assert shlex.split(typed(words)) == words
    assert typed([]) == ""
