import math

import torch

from slade_plugin.method.thresholds import RunningMean


def test_is_the_running_mean_whatever_the_batch() -> None:
    threshold = RunningMean()
    assert threshold(torch.eye(3), None, True, 0.25) == 0.25
    assert threshold(torch.eye(3), torch.arange(3), False, -0.5) == -0.5
    assert math.isnan(threshold(torch.eye(3), None, True, math.nan))
    assert threshold.reads_running_mean
    assert threshold.level is None
