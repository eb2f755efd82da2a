"""filters.png: the tiles are where they should be, and have the colours of the weights."""

import json

import numpy as np
import torch
from PIL import Image
from torch import nn

from callbacks.plots.first_filters import FirstFilters, first_convolution, mosaic


def test_a_filter_of_three_channels_is_a_tile_of_its_colours():
    weight = torch.zeros(17, 3, 2, 2)
    weight[0, 0, 0, 1] = 5.0  # red, on its own scale
    weight[16, 2] = -0.1  # no blue, on another scale; it begins the second row
    picture, shown = mosaic(weight)
    assert shown == 17
    assert picture.shape == (3, 2 * 42 + 2, 16 * 42 + 2)
    assert picture[:, 2 + 10, 2 + 30].tolist() == [255, 128, 128]
    assert picture[:, 2 + 10, 2 + 10].tolist() == [128, 128, 128]
    assert picture[:, 44 + 10, 2 + 10].tolist() == [128, 128, 0]
    assert picture[:, 0, 0].tolist() == [210, 210, 210]


def test_other_filters_are_a_row_of_channels():
    weight = torch.zeros(100, 4, 1, 1)
    weight[1, 3] = 1.0
    picture, shown = mosaic(weight)
    assert shown == 64  # 256 tiles
    assert picture.shape == (3, 64 * 42 + 2, 4 * 42 + 2)
    assert picture[:, 42 + 20, 3 * 42 + 20].tolist() == [255, 255, 255]
    assert picture[:, 42 + 20, 2 * 42 + 20].tolist() == [128, 128, 128]


def test_a_test_draws_the_weights_that_it_used_and_a_fit_nothing(make_trainer, tiny_data, tiny_classifier, tmp_path):
    model = tiny_classifier()
    make_trainer(FirstFilters()).fit(model, tiny_data())
    assert not list(tmp_path.glob("filters*"))
    make_trainer(FirstFilters()).test(model, tiny_data(), verbose=False)
    data = json.loads((tmp_path / "filters.json").read_text())
    sizes = {"filters": 4, "shown": 4, "channels": 3, "height": 3, "width": 3}
    assert data == {"of": "test", "layer": "0", **sizes}
    drawn = np.asarray(Image.open(tmp_path / "filters.png"))
    weight = model.architecture[0].weight.detach()[0]
    expected = ((weight / weight.abs().max() + 1) * 127.5).round()
    assert (drawn[2 + 6 : 2 + 39 : 13, 2 + 6 : 2 + 39 : 13].transpose(2, 0, 1) == expected.numpy()).all()


def test_a_network_without_convolutions_has_none():
    assert first_convolution(nn.Sequential(nn.Flatten(), nn.Linear(3, 2))) is None
