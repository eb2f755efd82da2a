"""Streams of characters: their positions in training, every target once in evaluation, and ids of any script."""

from __future__ import annotations

import pytest
import torch

from datamodules.text.char_streams import encode, evaluation_streams, training_positions


def positions(size: int, *, seed: int = 1, epoch: int = 0, rank: int = 0, world_size: int = 1) -> torch.Tensor:
    return training_positions(size, 2, 20, seed=seed, epoch=epoch, rank=rank, world_size=world_size)


def test_positions_depend_on_seed_and_epoch_and_never_reach_beyond_the_text() -> None:
    for size in range(41, 90):
        for epoch in range(5):
            starts = positions(size, epoch=epoch)
            assert starts.min() >= 0
            assert starts.max() + 20 <= size - 1  # the last target is at most the last character
            assert torch.equal(starts, positions(size, epoch=epoch))
    drawn = [int(positions(80, epoch=epoch).min()) for epoch in range(400)]
    assert set(drawn) == set(range(40))
    assert drawn != [int(positions(80, seed=2, epoch=epoch).min()) for epoch in range(400)]


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_the_streams_of_all_ranks_follow_one_another(world_size: int) -> None:
    size = 20 * 2 * world_size * 4 + 17
    ranks = [positions(size, epoch=3, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert all(starts.shape == (4, 2) for starts in ranks)
    in_text_order = torch.cat([starts.T.flatten() for starts in ranks])
    assert torch.equal(in_text_order.diff(), torch.full((8 * world_size - 1,), 20))


@pytest.mark.parametrize("streams", [1, 3, 7, 16, 50])
@pytest.mark.parametrize("size", [2, 3, 17, 50])
def test_evaluation_has_every_character_but_the_first_as_a_target_once(size: int, streams: int) -> None:
    ids = torch.arange(size) + 5
    characters, targets = evaluation_streams(ids, streams)
    assert len(characters) <= streams
    scored = targets >= 0
    assert torch.equal(targets[scored], ids[1:])
    assert torch.equal(characters[scored], ids[:-1])
    assert (targets[~scored] == -100).all()


def test_ids_are_positions_in_the_vocabulary_in_any_script() -> None:
    text = "aβ漢🙂 β"
    vocabulary = "".join(sorted(set(text)))
    assert "".join(vocabulary[number] for number in encode(text, vocabulary, "here").tolist()) == text


def test_an_unknown_character_is_named_with_its_line() -> None:
    with pytest.raises(ValueError, match=r"^here, line 7: .* character '🙃' \(U\+1F643\): .* 3 different characters"):
        encode("a\na🙃", "\na🙂", "here", lines_before=5)


@pytest.mark.parametrize(("characters", "dtype"), [(256, torch.uint8), (257, torch.int32)])
def test_ids_take_the_smallest_type_and_are_made_in_parts(
    characters: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary = "".join(map(chr, range(characters)))
    text = vocabulary[::-1] * 3
    whole = encode(text, vocabulary, "here")
    monkeypatch.setattr("datamodules.text.char_streams._AT_ONCE", 100)
    parts = encode(text, vocabulary, "here")
    assert whole.dtype == dtype
    assert torch.equal(parts, whole)
    assert parts.tolist() == [ord(character) for character in text]
    with pytest.raises(ValueError, match=r"here, line 1: the model does not know the character '🙂'"):
        encode("a" * 350 + "🙂", vocabulary[11:], "here")
    assert evaluation_streams(parts, 2)[0].dtype == torch.int64
