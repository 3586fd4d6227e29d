"""Hooks around the trainer's iterations and epochs, on the host's base class."""

from slade_plugin.host.hooks.checkpointed_hook_container import CheckpointedHookContainer

__all__ = ["CheckpointedHookContainer"]
