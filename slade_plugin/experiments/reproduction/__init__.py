"""The tables of the poster as runs: what each row is, how it is run."""
