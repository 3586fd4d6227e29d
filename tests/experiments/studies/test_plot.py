import io
import math
from typing import Any

import numpy as np
from PIL import Image

from slade_plugin.experiments.studies.plot import plot_pairs, plot_scores, save_png

MAP = "mean_average_precision_at_r"


def row(setting: str, mean: float, half: float | None, control: bool = False) -> dict[str, Any]:
    interval = {} if half is None else {"mean_interval95": half}
    return {"setting": setting, "control": control, "mean": mean, **interval}


def test_scores_are_points_with_their_intervals_from_the_top_in_order() -> None:
    rows = {
        "dots": [row("baseline", 3, 1), row("a", 5, 2), row("b", 4, 0.5, control=True)],
        "blobs": [row("a", 7, None)],
    }
    dots, blobs = plot_scores(rows, MAP).axes
    assert [dots.get_title(), blobs.get_title()] == ["dots", "blobs"]
    assert [label.get_text() for label in dots.get_yticklabels()] == ["baseline", "a", "b"]
    assert dots.yaxis_inverted()
    assert dots.get_xlabel() == "MAP@R on test, %"
    points = [container.lines[0] for container in dots.containers]
    assert [tuple(p.get_xydata()[0]) for p in points] == [(3, 0), (5, 1), (4, 2)]
    assert [p.get_markerfacecolor() for p in points] == ["tab:blue", "tab:blue", "white"]
    (bar,) = dots.containers[1].lines[2]
    np.testing.assert_allclose(bar.get_segments()[0], [[3, 1], [7, 1]])
    (line,) = [line for line in dots.get_lines() if list(line.get_xdata()) == [3, 3]]
    assert line.get_color() == "0.7"
    (bar,) = blobs.containers[0].lines[2]
    np.testing.assert_allclose(bar.get_segments()[0], [[7, 0], [7, 0]])


def test_pairs_are_lines_over_training_with_one_legend() -> None:
    full = {
        "positive_precision": [10.0, 20.0],
        "positive_recall": [60.0, 50.0],
        "negative_precision": [math.nan, math.nan],
        "negative_recall": [math.nan, 40.0],
        "num_pos_pairs": [3.0, 4.0],
    }
    parts = {"dots": {"a": full, "b": full}, "blobs": {"b": full, "c": {"num_pos_pairs": [1.0]}}}
    figure = plot_pairs(parts)
    titles = [panel.get_title() for panel in figure.axes]
    assert titles[:4] == [f"dots: {x} of {y}" for y in "PN" for x in ("precision", "recall")]
    assert [title[:5] for title in titles[4:]] == ["blobs"] * 4
    line = figure.axes[0].get_lines()[1]
    assert line.get_label() == "b"
    np.testing.assert_allclose(line.get_xydata(), [[25, 10], [75, 20]])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]
    colors = {ln.get_label(): ln.get_color() for ax in figure.axes for ln in ax.get_lines()}
    for panel in figure.axes:
        assert all(ln.get_color() == colors[ln.get_label()] for ln in panel.get_lines())


def test_many_settings_look_different() -> None:
    parts = {"dots": {f"s{i}": {"positive_precision": [1.0 * i]} for i in range(15)}}
    lines = plot_pairs(parts).axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 15


def test_a_figure_is_saved_as_a_small_png() -> None:
    file = io.BytesIO()
    save_png(plot_scores({"dots": [row("a", 5, 2)]}, MAP), file)
    image = Image.open(file)
    assert (image.format, image.mode) == ("PNG", "P")
    assert image.size[0] > 300
    assert len(file.getvalue()) < 30_000
    assert len(image.convert("RGB").getcolors()) > 2
