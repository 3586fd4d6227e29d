"""Samplers: which images make a batch."""

from slade_plugin.samplers.resumable_sampler import ResumableSampler

__all__ = ["ResumableSampler"]
