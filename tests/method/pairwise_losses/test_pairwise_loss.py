import pytest
from torch import Tensor

from slade_plugin.method.pairwise_losses import PairwiseLoss


class OverTwoWords2CE(PairwiseLoss):
    """A class of a user, which names its own column."""

    def __call__(self, similarity: Tensor, *others: object) -> Tensor:  # type: ignore[override]
        return similarity.mean()


def test_the_column_is_the_class_name_in_snake_case() -> None:
    assert OverTwoWords2CE().term == "over_two_words2_ce"


def test_the_value_is_for_a_subclass_to_say() -> None:
    with pytest.raises(TypeError, match="abstract"):
        PairwiseLoss()  # type: ignore[abstract]
