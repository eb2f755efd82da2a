"""A search that cannot fit into memory is refused before it allocates anything."""

from typing import Any

import pytest
import torch

from architectures.t5.config import T5Config
from architectures.t5.decoding_memory import least_bytes, require_memory
from architectures.t5.decoding_weights import DecodingWeights
from architectures.t5.generation import generate
from architectures.t5.incremental import IncrementalDecoder
from architectures.t5.model import T5
from architectures.t5.search import Search
from tests.architectures.t5.oracle import SMALL


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"max_length": 14, "num_beams": 10**8}, "num_beams 100000000 with max_length 14"),
        ({"max_length": 10**13}, "num_beams 1 with max_length 10000000000000"),
        (
            {"max_length": 14, "do_sample": True, "num_return_sequences": 10**12},
            "num_return_sequences 1000000000000 with max_length 14",
        ),
    ],
)
def test_absurd_sizes_are_refused_with_what_they_would_take(options: dict[str, Any], named: str) -> None:
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=rf"^{named} takes at least [\d,]+ GB per source, and cpu has [\d,]+ GB: low"):
        generate(T5(T5Config(**SMALL)), ids, torch.ones_like(ids), **options)


def test_the_estimate_is_that_of_hand_and_below_what_is_allocated() -> None:
    config = T5Config(**SMALL)
    beams = Search(max_length=9, num_beams=3)
    # 2 blocks of keys and values, 16 numbers each, in 2 bytes; 9 tokens in 8; 40 words in 4; 4 heads of 3 x 3 in 2
    assert least_bytes(config, beams) == 3 * 8 * (2 * 2 * 16) * 2 + 3 * 9 * 8 + 3 * 40 * 4 + 4 * 9 * 2
    decoder = IncrementalDecoder(DecodingWeights(T5(config)), torch.zeros(1, 3, 16), torch.ones(1, 3), 3, 9, True)
    cache = decoder.self_kv_L2NCD.nbytes // 2  # which is in float32
    assert least_bytes(config, beams) - cache == 3 * 9 * 8 + 3 * 40 * 4 + 4 * 9 * 2


def test_only_what_exceeds_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    config, search = T5Config(**SMALL), Search(max_length=9, num_beams=50)  # more than the vocabulary has
    for there in (least_bytes(config, search), 10**12):
        monkeypatch.setattr("architectures.t5.decoding_memory.memory_bytes", lambda there=there: there)
        require_memory(config, search, torch.device("cpu"))
    monkeypatch.setattr("architectures.t5.decoding_memory.memory_bytes", lambda: least_bytes(config, search) - 1)
    with pytest.raises(ValueError, match="num_beams 50 with max_length 9"):
        require_memory(config, search, torch.device("cpu"))


def test_more_beams_than_tokens_are_filled_from_the_second_step_on() -> None:
    torch.manual_seed(0)
    ids = torch.full((1, 3), 5)
    sequences, scores = generate(
        T5(T5Config(**SMALL)), ids, torch.ones_like(ids), max_length=4, num_beams=60, num_return_sequences=60
    )
    assert len(set(map(tuple, sequences.tolist()))) == 60
    assert scores.isfinite().all()
