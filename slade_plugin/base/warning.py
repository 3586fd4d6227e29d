"""Warnings of data sets and checks, each said once."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(message: str) -> None:
    """Logs a warning, once in a process: the host builds each data set many times."""
    logger.warning("%s", message)
