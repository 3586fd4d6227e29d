import shlex

from slade_plugin.experiments.studies.shell import to_shell


def test_a_value_in_braces_is_one_word() -> None:
    words = "--a {b: {c: 1}, d: [e, f]} --config_loss slade --g [h, i] --j 'k l'"
    assert to_shell([*words.split()[:-2], "k l"]) == (
        "--a '{b: {c: 1}, d: [e, f]}' --config_loss slade --g '[h, i]' --j 'k l'"
    )


def test_a_shell_reads_the_words_again() -> None:
    words = ["--a", "{b: 1}", "--c", "$d", "--e", "it's"]
    assert shlex.split(to_shell(words)) == words
    assert to_shell([]) == ""
