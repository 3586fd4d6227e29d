"""Shared by every wing: errors, atomic files, seeding, provenance, suggestions for typos."""
