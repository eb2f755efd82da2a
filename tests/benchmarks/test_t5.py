"""The comparisons of T5 with transformers run, and count their floors as torch counts operations."""

import json

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from architectures.t5.config import T5Config
from architectures.t5.model import T5
from benchmarks import t5_decoding, t5_training, translation
from benchmarks.floors import decoding_step_bytes, t5_multiply_adds, training_operations


@pytest.mark.parametrize("gate", ["relu", "gated-gelu"])
def test_operations_of_a_training_step_are_those_that_torch_counts(gate):
    config = T5Config(40, 16, 4, 24, 2, 3, 4, feed_forward_proj=gate, dropout_rate=0.0)
    model = T5(config)
    source, target = torch.randint(2, 40, (3, 7)), torch.randint(2, 40, (3, 5))
    with FlopCounterMode(display=False) as counter:
        model.loss(source, torch.ones_like(source), target).loss.backward()
    expected = training_operations(t5_multiply_adds(config, 7, 5), 3)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)


def test_bytes_of_a_decoding_step_are_those_of_the_weights_it_uses():
    config = T5Config(40, 16, 4, 24, 2, 3, 4)
    weights = {name: parameter.numel() for name, parameter in T5(config).named_parameters()}
    used = sum(
        size
        for name, size in weights.items()
        if ("decoder" in name or name.startswith(("shared", "embedding"))) and "norm" not in name and "bias" not in name
    )
    cross_of_sources = config.decoder_depth * 2 * 16 * 16
    assert decoding_step_bytes(config, 2) == 2 * (used - cross_of_sources)


def test_results_that_end_early_are_not_the_same():
    theirs = torch.tensor([[0, 5, 6, 1], [0, 5, 1, 0]])
    assert t5_decoding.same_rows(theirs, theirs) == 1
    assert t5_decoding.same_rows(torch.cat([theirs, torch.zeros(2, 3, dtype=torch.long)], 1), theirs) == 1
    assert t5_decoding.same_rows(theirs[:, :3], theirs) == 0.5
    assert t5_decoding.same_rows(theirs[:, :1], theirs) == 0


def test_other_weights_are_not_the_same_work_in_any_precision(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    pair = t5_training.make_pair_as_theirs_begins

    def unlike(config):
        ours, theirs = pair(config)
        torch.nn.init.normal_(ours.embedding.weight)
        return ours, theirs

    monkeypatch.setattr(t5_training, "make_pair_as_theirs_begins", unlike)
    for precision in ("32-true", "bf16-mixed"):
        with pytest.raises(AssertionError, match="the losses differ"):
            t5_training.main(["--quick", "--output", str(tmp_path), "--precision", precision])


def test_both_train_and_decode_at_tiny_sizes(tmp_path):
    pytest.importorskip("transformers")
    t5_training.main(["--quick", "--output", str(tmp_path)])
    t5_decoding.main(["--quick", "--output", str(tmp_path), "--beams", "1", "2", "--dtype", "bfloat16"])
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"t5_{what}_cpu.json" for what in ("training_fp32", "decoding_1_bfloat16", "decoding_2_bfloat16")}
    read = json.loads((tmp_path / "t5_training_fp32_cpu.json").read_text())
    assert "losses differ by" in read["checked"]
    assert {"tokens per second", "floor_s", "MFU ours", "MFU transformers"} <= set(read["figures"])


def test_texts_are_translated_from_file_to_file_at_a_tiny_size(tmp_path):
    pytest.importorskip("transformers")
    translation.main(["--quick", "--data", str(tmp_path), "--output", str(tmp_path)])
    read = json.loads((tmp_path / "translation_float32_cpu.json").read_text())
    assert "lines are the same" in read["checked"]
    assert read["work"].startswith("12 invented sentences")
