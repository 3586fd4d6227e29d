from slade_plugin.experiments.studies.markdown import markdown_table


def test_a_table_by_hand() -> None:
    table = markdown_table(["setting", "MAP@R"], [["slade", "32.24"], ["teacher", ""]])
    assert table.splitlines() == [
        "| setting | MAP@R |",
        "| --- | --- |",
        "| slade | 32.24 |",
        "| teacher |  |",
    ]
