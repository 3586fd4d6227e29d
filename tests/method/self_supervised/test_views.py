import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from slade_plugin.base.errors import ConfigError
from slade_plugin.method.self_supervised.views import MultiCropViews, UnlabeledViews

# Only whole crops of the image, unchanged.
PLAIN = {
    "crop_sizes": [8, 8],
    "crop_counts": [2, 1],
    "crop_min_scales": [1.0, 1.0],
    "crop_max_scales": [1.0, 1.0],
    "hf_prob": 0,
    "cj_prob": 0,
    "random_gray_scale": 0,
    "gaussian_blur": 0,
}


def trunk(**entries: Any) -> SimpleNamespace:
    return SimpleNamespace(**{"mean": [0.5] * 3, "std": [0.25] * 3} | entries)


@pytest.fixture
def image() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def as_tensor(image: Image.Image) -> Tensor:
    return torch.tensor(np.array(image)).movedim(-1, 0) / 255


def test_crops_of_each_kind_in_order(image: Image.Image) -> None:
    sizes = {"crop_sizes": [6, 4], "crop_counts": [2, 3]}
    views = MultiCropViews(PLAIN | sizes, trunk())
    assert [tuple(v.shape) for v in views(image)] == [(3, 6, 6)] * 2 + [(3, 4, 4)] * 3
    assert views.num_code_views == 2


def test_normalisation_is_the_trunk_s(image: Image.Image) -> None:
    for view in MultiCropViews(PLAIN, trunk())(image):
        torch.testing.assert_close(view, (as_tensor(image) - 0.5) / 0.25)


def test_a_trunk_without_properties_takes_imagenet_s(image: Image.Image) -> None:
    view = MultiCropViews(PLAIN, SimpleNamespace())(image)[0]
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    torch.testing.assert_close(view, (as_tensor(image) - mean) / std)


def test_bgr_and_255_as_the_host_makes_them(image: Image.Image, full_getter: Any) -> None:
    properties = {
        "mean": [104.0, 117.0, 128.0], "std": [1.0, 1.0, 1.0], "input_space": "BGR",
        "input_range": [0, 255],
    }  # fmt: skip
    host = full_getter.get_composed_img_transform({}, **properties)
    view = MultiCropViews(PLAIN, trunk(**properties))(image)[0]
    torch.testing.assert_close(view, host(image))


def test_grey_images_stay_grey() -> None:
    grey = Image.fromarray(np.full((8, 8), 51, np.uint8))
    jitter = {"cj_prob": 1.0, "gaussian_blur": 1.0, "cj_bright": 0, "cj_contrast": 0}
    view = MultiCropViews(PLAIN | jitter, trunk(mean=[0.0], std=[1.0]))(grey)[0]
    torch.testing.assert_close(view, torch.full((1, 8, 8), 0.2))


def test_no_flips_unless_asked_for(image: Image.Image) -> None:
    flipped = MultiCropViews(PLAIN | {"hf_prob": 1.0}, trunk())(image)[0]
    torch.testing.assert_close(flipped.flip(-1), MultiCropViews(PLAIN, trunk())(image)[0])


def test_further_transforms_come_in_order_before_normalisation(image: Image.Image) -> None:
    own = [lambda view: 1 - view, lambda view: view / 2]
    for view in MultiCropViews(PLAIN, trunk(), own)(image):
        torch.testing.assert_close(view, ((1 - as_tensor(image)) / 2 - 0.5) / 0.25)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"flip": 0.5}, "SwaVTransform takes no argument 'flip'"),
        ({"normalize": None}, "cannot be used"),
        ({"crop_counts": [2]}, "Length of crop_sizes and crop_counts must be equal"),
        ({"crop_counts": 2}, "cannot be used"),
        ({"crop_counts": [0, 2]}, "at least one crop of the first kind"),
        ({"crop_counts": [1, 0]}, "two in total"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        MultiCropViews(PLAIN | change, trunk())


def test_without_lightly_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    with pytest.raises(ConfigError, match=r"pip install slade-plugin\[swav\]"):
        MultiCropViews(PLAIN, trunk())


class Items:
    """A data set whose images are lists of views; reading a label is an error."""

    def __init__(self, numbers: list[int]) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"data": [torch.tensor(self.numbers[index])] * 2, "label": 7}


def test_both_data_sets_without_labels() -> None:
    dataset = UnlabeledViews(
        Items([1, 2]), Items([3, 4, 5]), lambda item: (item["data"], item["label"])
    )
    assert len(dataset) == 5
    assert [[int(view) for view in dataset[i]] for i in range(5)] == [[n, n] for n in range(1, 6)]
