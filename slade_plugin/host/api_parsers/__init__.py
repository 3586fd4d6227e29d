"""API parsers, which assemble the parts of an experiment, on the host's base class."""

from slade_plugin.host.api_parsers.api_slade_pseudo_labels import APISladePseudoLabels
from slade_plugin.host.api_parsers.api_slade_self_supervised import APISladeSelfSupervised
from slade_plugin.host.api_parsers.api_slade_student import APISladeStudent

__all__ = ["APISladePseudoLabels", "APISladeSelfSupervised", "APISladeStudent"]
