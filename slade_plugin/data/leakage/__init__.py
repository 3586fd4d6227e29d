"""Images and classes of the unlabeled pool that are also evaluated on."""

from slade_plugin.data.leakage.check import LeakageReport, LeakageSettings, find_leaks

__all__ = ["LeakageReport", "LeakageSettings", "find_leaks"]
