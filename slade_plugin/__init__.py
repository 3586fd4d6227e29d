"""SLADE as a plugin of powerful-benchmarker 0.9.33.

The stages (``stages/``): a *teacher* learns from labeled images, its embeddings cluster an
unlabeled pool into *pseudo labels*, and a *student* learns from both with a *feature basis* that
tells trustworthy pairs from noise. ``docs/design.md`` shows the path of one batch.

Read first: ``method/trainers/slade_student.py`` (one step of the method) and ``runner.py`` (how a
command line becomes experiments of the host). The equations alone are in ``method/functional/``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slade_plugin.retrieval.embedder import load_embedder

__version__ = "0.1.0"
__all__ = ["__version__", "load_embedder", "register"]


def __getattr__(name: str) -> Any:
    """Import `load_embedder` on first use, since the host takes seconds to import."""
    if name == "load_embedder":
        from slade_plugin.retrieval.embedder import load_embedder

        return load_embedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def register(runner: Any) -> None:
    """Register every class of the plugin with any powerful-benchmarker runner.

    Args:
        runner: An instance of a host runner, before its ``run()``.

    Raises:
        ConfigError: If the host already has a class of one of our names.
    """
    from slade_plugin.host.registry import register_all

    register_all(runner)
