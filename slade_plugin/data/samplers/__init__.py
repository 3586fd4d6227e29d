"""Samplers: which images make a batch."""

from slade_plugin.data.samplers.resumable_sampler import ResumableSampler

__all__ = ["ResumableSampler"]
