"""Warnings of data sets and checks, each logged once."""

import logging
from functools import cache

logger = logging.getLogger(__name__)


@cache
def warn_once(message: str) -> None:
    """Log a warning once per process, since the host builds each data set many times."""
    logger.warning("%s", message)
