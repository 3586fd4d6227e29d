"""Errors of the plugin.

None derives from ``ValueError`` or ``AttributeError``: the host swallows the first
(``BaseAPIParser.run_train_or_eval``) and loses the text of the second
(``EasyModuleAttributeGetter.get``). Each message states what is wrong, what was given, what
is expected and where to change it.
"""


class SladeError(Exception):
    """Base of every error this plugin raises on purpose; the command line ends with its code."""

    exit_code = 2


class ConfigError(SladeError):
    """A config name, key, type or range is wrong."""


class DataError(SladeError):
    """A data set, a split or a batch is not what the method needs."""


class ShapeError(SladeError):
    """A tensor has the wrong shape or dtype."""


class ExperimentError(SladeError):
    """An experiment folder is taken, missing, unwritable or belongs to another configuration."""


class DivergenceError(ExperimentError):
    """Training produced a NaN. A search or study scores such a trial 0, as the host does."""

    exit_code = 3


class CheckpointError(SladeError):
    """A checkpoint is damaged, incomplete or foreign."""


class RetrievalError(SladeError):
    """An image, a file of vectors or an index does not fit the model it is used with."""


class PseudoLabelError(SladeError):
    """A pseudo-label record is damaged or belongs to another teacher, pool or setting."""
