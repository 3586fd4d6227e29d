"""The tables of the poster as runs: what each row is, what it costs, how it is run."""
