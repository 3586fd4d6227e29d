"""Checks of image files: sizes, damage, hashes, duplicates, a contact sheet."""
