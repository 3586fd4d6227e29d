"""The page ``optimization_plots.html`` of a search.

The host's page loads plotly 1 from the network, which cannot read the output of current plotly;
this one works offline.
"""

from typing import Any

import ax.plot.contour
import ax.plot.slice
import numpy as np
import plotly.graph_objects as go
import plotly.io
from ax.adapter.registry import Generators


def progress_page(ax_client: Any, metric: str) -> str:
    """Plot the scores by trial and Ax's model of them on one self-contained HTML page.

    Args:
        ax_client: Client with at least one complete trial.
        metric: The optimized metric.
    """
    figures = [_trace(ax_client, metric), _model_plot(ax_client.experiment, metric)]
    parts = [
        plotly.io.to_html(figure, full_html=False, include_plotlyjs=number == 0)
        for number, figure in enumerate(figures)
    ]
    return f"<!doctype html><meta charset='utf-8'><title>{metric}</title>{''.join(parts)}\n"


def _trace(ax_client: Any, metric: str) -> go.Figure:
    scores = ax_client.get_trials_data_frame().set_index("trial_index")[metric].dropna()
    return go.Figure(
        [
            go.Scatter(x=scores.index, y=scores, mode="markers", name="trial"),
            go.Scatter(x=scores.index, y=np.maximum.accumulate(scores), name="best so far"),
        ],
        {"xaxis_title": "trial", "yaxis_title": f"{metric} on val", "title": "Scores"},
    )


def _model_plot(experiment: Any, metric: str) -> go.Figure:
    """Plot a contour over two selectable parameters, or the curve over the only one."""
    model = Generators.BOTORCH_MODULAR(experiment=experiment, data=experiment.lookup_data())
    names = list(experiment.search_space.parameters)
    if len(names) > 1:
        return ax.plot.contour.interact_contour_plotly(model=model, metric_name=metric)
    return ax.plot.slice.plot_slice_plotly(model=model, param_name=names[0], metric_name=metric)
