"""Leaderboard of records: checks, ranking, page."""
