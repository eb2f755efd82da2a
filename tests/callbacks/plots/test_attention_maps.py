import base64
import json
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from matplotlib.image import imread

from architectures.t5.config import T5Config
from architectures.t5.model import T5
from callbacks.plots import attention_maps
from callbacks.plots.attention_maps import AttentionMap, AttentionMaps, attention_map, evenly_spaced
from callbacks.weight_averaging import EMA
from tests.callbacks.text_fakes import EOS, TinyText, TinyWriter, batch_of, characters, tokenizer_of


class Recording(AttentionMaps):
    """Remembers what was drawn."""

    def __init__(self, count: int = 2, every_n_seconds: float = 0.0) -> None:
        super().__init__(count, every_n_seconds)
        self.drawn: list[tuple[list[AttentionMap], str]] = []

    def figure(self, collected, class_names, title):
        self.drawn.append((collected, title))
        return super().figure(collected, class_names, title)


def some_map(source: int, target: int, layers: int = 3, index: int = 0) -> AttentionMap:
    weights = torch.rand(layers, target, source, generator=torch.Generator().manual_seed(0)).softmax(-1)
    shown = {layer + 1: weights[layer] for layer in evenly_spaced(layers, attention_maps.MAX_LAYERS)}
    return AttentionMap(index, [f"␣s{k}" for k in range(source)], [f"␣w{k}" for k in range(target)], shown, layers, 0)


def test_a_test_draws_the_first_examples(make_trainer, tmp_path):
    """Tokens without padding on either side, from any batch; the decoder reads the target shifted right by one."""
    model, callback = TinyWriter(["ab", "c d", "e"]), Recording()
    batches = [batch_of({2: [5, 1], 1: [8, 12, 9, 1]}), batch_of({0: [2, 3, 1], 3: [9, 9, 9, 9, 1]}, left=True)]
    make_trainer(callback).test(model, TinyText(batches), verbose=False)
    [(maps, title)] = callback.drawn
    assert title == "test"
    assert [each.index for each in maps] == [0, 1]
    assert maps[0].source == ["a", "b", "</s>"]
    assert maps[0].target == ["a", "b", "</s>"]
    assert maps[1].source == ["g", "␣", "h", "</s>"]
    assert maps[1].target == ["c", "␣", "d", "</s>"]
    before, read = torch.tensor([0, 2, 3]), torch.tensor([2, 3, 1])  # decoder's input and source of the first
    for layer in (1, 2, 3):
        heads = [(head * layer * (before[:, None] + 1) * read / 50).softmax(1) for head in (1, 3)]
        torch.testing.assert_close(maps[0].layers[layer], (heads[0] + heads[1]) / 2)
    for each, data in zip(maps, json.loads((tmp_path / "attention.json").read_text())["maps"], strict=True):
        assert (data["index"], data["source"], data["target"]) == (each.index, each.source, each.target)
        for layer, weights in each.layers.items():
            kept = np.frombuffer(base64.b64decode(data["layers"][str(layer)]), np.uint8).reshape(weights.shape)
            np.testing.assert_allclose(kept / 255, weights, atol=0.5 / 255 + 1e-6)
    height, width = imread(tmp_path / "attention.png").shape[:2]
    assert 300 < height < 2000
    assert 300 < width < 2000


def test_a_real_t5_in_a_padded_batch_gives_the_same():
    torch.manual_seed(0)
    network = T5(T5Config(vocab_size=13, d_model=16, d_kv=4, d_ff=16, num_layers=2, num_heads=3)).train()
    labels = torch.tensor([[5, 7, EOS, -100], [3, 3, 4, EOS]])
    batch = batch_of({0: [2, 3, 4, 5, 1], 1: [6, 1]})
    together = network.attention_weights(batch.input_ids, batch.attention_mask, network.shift_right(labels))
    alone = attention_map(network, characters(), 1, torch.tensor([6, 1]), [3, 3, 4, EOS])
    assert alone.target == ["b", "b", "c", "</s>"]
    assert alone.source == ["e", "</s>"]
    assert alone.depth == 2
    for layer, weights in alone.layers.items():
        torch.testing.assert_close(weights, together.cross[layer - 1][1, :, :, :2].mean(0))
    assert network.training


def test_fit_draws_when_due_and_the_last_at_the_end(make_trainer, tmp_path):
    often, seldom = Recording(), Recording(every_n_seconds=1000)
    data = TinyText([batch_of({0: [2, 3], 1: [4, 5]})])
    model = TinyWriter(["ab", "cd"])
    model.tokenizer = characters("abcd 0123456789.")
    make_trainer(often, seldom, max_epochs=3, num_sanity_val_steps=1).fit(model, data)
    assert [title for _, title in often.drawn] == [f"validation, epoch {epoch}" for epoch in (1, 2, 3)]
    assert [title for _, title in seldom.drawn] == ["validation, epoch 1", "validation, epoch 3"]
    assert "".join(seldom.drawn[1][0][0].target) == "ab␣2.3</s>"


def test_the_averaged_weights_are_drawn(make_trainer):
    """Those that wrote the texts and scored them, in the last validation too."""
    average, read = EMA(decay=0.5), []

    class Reading(TinyWriter):
        def __init__(self) -> None:
            super().__init__(["ab"])
            self.tokenizer = characters("abcd 0123456789.")
            answer = self.architecture.attention_weights

            def attention_weights(*arguments: Any, **options: Any) -> Any:
                read.append(self.architecture.embedding.weight.detach().clone())
                return answer(*arguments, **options)

            self.architecture.attention_weights = attention_weights  # type: ignore[assignment,method-assign]

    class Compare(Callback):
        def on_validation_end(self, trainer, pl_module):
            averaged = average._average_model.module.architecture.embedding.weight
            assert torch.equal(read[-1], averaged)
            assert not torch.equal(averaged, pl_module.architecture.embedding.weight)

    batches = [batch_of({0: [2, 3]}), batch_of({1: [4]})]
    trainer = make_trainer(average, AttentionMaps(count=1), Compare(), max_epochs=3, num_sanity_val_steps=0)
    trainer.fit(Reading(), TinyText(batches))
    assert len(read) == 3


def test_an_exception_draws_the_newest_without_asking_the_model(make_trainer, tmp_path):
    class Failing(TinyWriter):
        def training_step(self, batch, batch_idx):
            if self.current_epoch == 2:
                self.architecture.attention_weights = None  # type: ignore[assignment,method-assign]
                raise RuntimeError("out of memory")
            return super().training_step(batch, batch_idx)

    callback = Recording(every_n_seconds=1000)
    model = Failing(["ab"])
    model.tokenizer = characters("abcd 0123456789.")
    with pytest.raises(RuntimeError, match="out of memory"):
        make_trainer(callback, max_epochs=3).fit(model, TinyText([batch_of({0: [2]})]))
    assert [title for _, title in callback.drawn] == ["validation, epoch 1", "validation, epoch 2"]


def test_examples_that_fit_come_first(make_trainer):
    long, limit = "a" * 60, attention_maps.MAX_TARGET
    hypotheses = ["ab", long, "a" * (limit - 1), "a" * limit, "cd"]
    sources = {0: [3] * 49, 1: [3], 2: [4] * 48, 3: [5], 4: [6]}
    callback = Recording(count=4)
    make_trainer(callback).validate(TinyWriter(hypotheses), TinyText([batch_of(sources)]), verbose=False)
    assert [each.index for each in callback.drawn[0][0]] == [2, 4, 0, 3]  # 0 and 3: one token too long


def test_sizes_are_bounded_and_truncation_is_reported():
    figure = attention_maps.draw([some_map(512, 128, layers=24, index=k) for k in range(2)], "test")
    width, height = figure.get_size_inches() * 110
    assert width < 4000
    assert height < 4000
    assert len(figure.axes) == 2 * 6
    assert [axes.get_title().split(",")[0] for axes in figure.axes[:6]] == [
        f"layer {layer}" for layer in (1, 6, 10, 15, 19, 24)
    ]
    assert all(axes.images[0].get_array().shape == (32, 48) for axes in figure.axes)
    heading = figure.texts[1].get_text()
    for part in ("example 0", "6 of 24 layers", "first 48 of 512 source tokens", "first 32 of 128 generated tokens"):
        assert part in heading


@pytest.mark.parametrize(("source", "target", "layers"), [(1, 1, 1), (3, 2, 2), (12, 14, 4), (48, 32, 6)])
def test_nothing_overlaps_and_every_token_has_its_label(source, target, layers):
    figure = attention_maps.draw([some_map(source, target, layers), some_map(5, 5, layers, index=1)], "test")
    figure.draw_without_rendering()
    frame = figure.bbox
    boxes = []
    for axes in figure.axes:
        tight = axes.get_tightbbox()
        assert tight.x0 >= 0
        assert tight.y0 >= 0
        assert tight.x1 <= frame.x1
        assert tight.y1 <= frame.y1
        boxes.append(tight)
    boxes += [text.get_window_extent() for text in figure.texts]
    assert all(box.x1 <= frame.x1 for box in boxes)
    overlapping = [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b) and _area(a, b) > 4]
    assert overlapping == []
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [f"␣w{k}" for k in range(target)]
    last = figure.axes[layers - 1]
    assert [label.get_text() for label in last.get_xticklabels()] == [f"␣s{k}" for k in range(source)]


def _area(a, b) -> float:
    return (min(a.x1, b.x1) - max(a.x0, b.x0)) * (min(a.y1, b.y1) - max(a.y0, b.y0))


def test_tokens_of_every_kind_are_drawn_as_they_are(make_trainer, tmp_path, recwarn):
    tokens = [None, "</s>", "▁$a$", "$\\frac{$", "\n", "\x1b[0m", "<0x0A>", "中", "🎉", "▁" + "long" * 9, "\u2028"]
    odd = tokenizer_of(tokens)
    each = attention_map(TinyWriter([]).architecture, odd, 0, torch.arange(11), [4, 0, EOS])
    labels = ["0", "</s>", "␣$a$", "$\\frac{$", "\\n", "\\x1b[0m", "<0x0A>", "中", "🎉", "␣longlonglong…", "\\u2028"]
    assert each.source == labels
    assert each.target == ["\\n", "0", "</s>"]
    model = TinyWriter([""])
    model.tokenizer = odd
    make_trainer(AttentionMaps()).test(model, TinyText([batch_of({0: list(range(2, 11))})]), verbose=False)
    assert imread(tmp_path / "attention.png").shape[0] > 100
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_each_evaluation_has_its_own_sources(make_trainer):
    callback = Recording()
    trainer = make_trainer(callback)
    for sources in ({0: [3], 1: [4]}, {1: [5]}, {2: [6]}):
        trainer.test(TinyWriter(["a", "b"]), TinyText([batch_of(sources)]), verbose=False)
    drawn = [{each.index: each.source for each in maps} for maps, _ in callback.drawn]
    assert drawn == [{0: ["b"], 1: ["c"]}, {1: ["d"]}]


def test_without_text_sources_or_tokenizer_nothing_is_drawn(make_trainer, tiny_data, tiny_classifier, tmp_path):
    make_trainer(AttentionMaps()).fit(tiny_classifier(), tiny_data())
    data = TinyText([batch_of({5: [2]})])
    make_trainer(AttentionMaps()).test(TinyWriter(["a"]), data, verbose=False)  # example 0 is in no batch here
    without = TinyWriter(["a"] * 9)
    without.tokenizer = None
    make_trainer(AttentionMaps()).test(without, data, verbose=False)
    assert list(tmp_path.glob("*.png")) == []
    for count in (0, 9):
        with pytest.raises(ValueError, match="count"):
            AttentionMaps(count=count)


def test_evenly_spaced():
    assert evenly_spaced(3, 6) == [0, 1, 2]
    assert evenly_spaced(6, 6) == list(range(6))
    assert evenly_spaced(7, 6) == [0, 1, 2, 4, 5, 6]
    assert evenly_spaced(24, 6) == [0, 5, 9, 14, 18, 23]
