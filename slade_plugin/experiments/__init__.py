"""What surrounds single runs: studies, search, tables of results, reports."""
