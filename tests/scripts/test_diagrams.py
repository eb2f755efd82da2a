"""The drawings show the published parameters, multiply-adds and shapes of the networks, and count nothing twice."""

from pathlib import Path
from xml.etree import ElementTree

import torch

from architectures.mobilenet_v2 import MobileNetV2
from architectures.resnet import ResNet
from architectures.t5.config import T5Config
from architectures.t5.model import T5
from scripts.diagrams import Outline, cnn_outline, folded, main, outline, svg


def totals(drawn: Outline) -> tuple[int, int]:
    rows = folded(drawn.rows)
    return sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows)


def test_resnet20_has_its_published_size_and_shapes() -> None:
    """He et al. 2015, table 6: 0.27 M parameters. The 19 convolutions and the last layer take 40.55 M multiply-adds."""
    drawn = cnn_outline("ResNet-20", ResNet(20))
    parameters, multiply_adds = totals(drawn)
    assert parameters == sum(parameter.numel() for parameter in ResNet(20).parameters()) == 269_722
    stages = [(16, 32, 6), (32, 16, 5), (64, 8, 5)]  # channels, pixels, convolutions between equal channels
    convolutions = sum(width * width * 9 * side * side * count for width, side, count in stages)
    convolutions += 3 * 16 * 9 * 32**2 + 16 * 32 * 9 * 16**2 + 32 * 64 * 9 * 8**2
    assert multiply_adds == convolutions + 640
    rows = folded(drawn.rows)
    assert [row.repeats for row in rows] == [1, 3, 1, 2, 1, 2, 1]
    assert [row.shape[1:] for row in rows[1::2]] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]


def test_t5_counts_attention_and_the_tied_output() -> None:
    config = T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=16, num_layers=2, num_heads=2)
    network, tokens = T5(config), torch.ones(1, 6, dtype=torch.int64)
    parameters, multiply_adds = totals(outline("", "", network, [tokens, tokens.bool(), tokens], "logits"))
    assert parameters == sum(parameter.numel() for parameter in network.parameters())
    attention = 4 * 6 * 8 * 8 + 2 * 2 * 6 * 6 * 4  # four projections; scores and sums of two heads
    feed_forward = 2 * 6 * 8 * 16
    assert multiply_adds == 2 * (attention + feed_forward) + 2 * (2 * attention + feed_forward) + 6 * 8 * 50


def test_shortcuts_and_biases_are_where_the_papers_have_them() -> None:
    """He et al. 2015, section 3.3 and 4.2: one per block; MobileNetV2, table 2: none where shape or width changes."""
    resnet20 = [row.content for row in folded(cnn_outline("", ResNet(20)).rows)]
    assert resnet20[1] == "2 x 3x3 conv 16, shortcut"
    assert resnet20[2].startswith("3x3 conv 32 /2, 3x3 conv 32, shortcut by ")
    assert resnet20[-1] == "linear 64 to 10 + bias"
    resnet18 = [row.content for row in folded(cnn_outline("", ResNet(18)).rows)]
    assert resnet18[2] == "3x3 conv 128 /2, 3x3 conv 128, shortcut by 1x1 conv 128 /2"
    mobile = [row.content.endswith("shortcut") for row in cnn_outline("", MobileNetV2()).rows if "Inverted" in row.kind]
    assert sum(mobile) == 10
    assert len(mobile) == 17


def test_t5_has_a_shortcut_around_each_layer_and_its_bias_in_the_attention() -> None:
    config = T5Config(vocab_size=50, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    tokens = torch.ones(1, 6, dtype=torch.int64)
    rows = outline("", "", T5(config), [tokens, tokens.bool(), tokens], "logits").rows
    blocks = [row.content.rsplit(", ", 1)[-1] for row in rows if row.kind == "Block"]
    assert blocks == ["2 shortcuts", "3 shortcuts"]
    biases = [row.content for row in rows if row.kind == "RelativePositionBias"]
    assert biases == ["32 rows of 2, added to the scores of self-attention in every block"] * 2


def test_the_drawings_in_the_documentation_are_those_of_the_code(tmp_path: Path) -> None:
    main(tmp_path)
    kept = Path(__file__).parents[2] / "docs" / "diagrams"
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        file.name: file.read_text() for file in kept.iterdir()
    }, "run `python -m scripts.diagrams`"


def test_a_drawing_is_valid_xml_and_shows_its_rows() -> None:
    drawn = cnn_outline("A < B", ResNet(20))
    words = " ".join(ElementTree.fromstring(svg(drawn)).itertext())
    for shown in ("A < B", "269,722 parameters", "2 x 3x3 conv 16"):
        assert shown in words
