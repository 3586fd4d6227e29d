"""TensorBoard's scalars of a step in one event instead of one event each."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def joined_events(record_keeper: Any) -> Iterator[None]:
    """Write the scalars that are recorded in the block as one event, with the same tags.

    The host's dozens of events per step took as long as all else it records.

    Args:
        record_keeper: The host's; None, or one without TensorBoard, is left alone.
    """
    writer: Any = getattr(record_keeper, "tensorboard_writer", None)
    files = getattr(writer, "file_writer", None)  # None: closed, add_scalar opens another
    if files is None:
        yield
        return
    # Slow to import; loaded already where there is a writer.
    from torch.utils.tensorboard.summary import scalar

    by_step: dict[int, Any] = {}

    def add_scalar(tag: str, value: Any, step: int) -> None:
        summary = scalar(tag, value)
        if step in by_step:
            by_step[step].MergeFrom(summary)
        else:
            by_step[step] = summary

    writer.add_scalar = add_scalar
    try:
        yield
    finally:
        del writer.add_scalar
        for step, summary in by_step.items():
            files.add_summary(summary, step)
