"""Wiring to powerful-benchmarker: factories, API parsers, hooks, testers, registration."""
