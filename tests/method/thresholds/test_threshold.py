import pytest

from slade_plugin.method.thresholds import Threshold


def test_the_value_is_for_a_subclass_to_say() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Threshold()  # type: ignore[abstract]


def test_a_subclass_reads_no_running_mean_unless_it_says_so() -> None:
    class Zero(Threshold):
        def __call__(self, *given: object) -> float:  # type: ignore[override]
            return 0.0

    assert not Zero().reads_running_mean
    assert Zero().level is None
