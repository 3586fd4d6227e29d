import numpy as np
import pytest
import torch

from slade_plugin.base.errors import ConfigError
from slade_plugin.experiments.report.projection import choose_images, choose_method, plot_embeddings


def test_few_classes_and_images_are_drawn() -> None:
    places = choose_images(np.repeat(np.arange(60), 70))
    assert len(places) <= 1000
    classes = np.unique(np.repeat(np.arange(60), 70)[places])
    assert len(classes) == 20
    assert {0, 59} <= set(classes.tolist())
    assert choose_images(np.array([5, 5, 7])).tolist() == [0, 1, 2]


def test_both_panels_draw_the_same_images(make_split) -> None:
    splits = {"before": make_split(), "after": make_split(angles=list(range(8)))}
    figure = plot_embeddings(splits, lambda points: points)
    first, second = figure.axes
    assert [first.get_title(), second.get_title()] == ["before", "after"]
    for panel, split in zip((first, second), splits.values(), strict=True):
        assert [dots.get_label() for dots in panel.collections] == ["owl", "<tit> & co", "wren"]
        of_class = [np.asarray(dots.get_offsets()) for dots in panel.collections]
        assert np.concatenate(of_class) == pytest.approx(split.embeddings)
    colours = [[dots.get_facecolor().tolist() for dots in p.collections] for p in (first, second)]
    assert colours[0] == colours[1]


@pytest.mark.parametrize("name", ["tsne", pytest.param("umap", marks=pytest.mark.long)])
def test_two_far_groups_stay_apart_and_the_picture_is_repeatable(name: str) -> None:
    _, reduce = choose_method(name)
    threads = torch.get_num_threads()
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 0.1, (12, 5)), rng.normal(9, 0.1, (12, 5))])
    flat = reduce(points.astype(np.float32))
    assert flat.shape == (24, 2)
    centre = [flat[:12].mean(axis=0), flat[12:].mean(axis=0)]
    spread = max(flat[:12].std(), flat[12:].std())
    assert np.linalg.norm(centre[0] - centre[1]) > spread
    assert np.array_equal(reduce(points.astype(np.float32)), flat)
    assert torch.get_num_threads() == threads  # or what is trained later differs


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slade_plugin.experiments.report.projection.find_spec", lambda name: None)
    assert choose_method("tsne")[0] == "t-SNE"
    with pytest.raises(ConfigError, match=r"pip install 'slade-plugin\[umap\]'"):
        choose_method("umap")
