"""Trainers on the host's base classes."""

from slade_plugin.method.trainers.slade_student import SladeStudent

__all__ = ["SladeStudent"]
