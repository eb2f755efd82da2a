"""Toy tasks: right answers, and splits that share nothing."""

from __future__ import annotations

from datetime import date

import pytest

from datamodules.text.toy_tasks import DateTask, NumberTask, ReverseTask, ToyTask, number_words

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905


@pytest.mark.parametrize("kind", [ReverseTask, DateTask, NumberTask])
def test_splits_have_the_given_sizes_and_share_nothing(kind: type[ToyTask]) -> None:
    task = kind(num_train=300, num_val=40, num_test=50)
    train, val, test = (task.examples(split) for split in ("train", "val", "test"))  # type: ignore[arg-type]
    assert [len(train), len(val), len(test)] == [300, 40, 50]
    assert len({example.source for example in [*train, *val, *test]}) == 390
    assert kind(num_train=300, num_val=40, num_test=50).examples("test") == test
    assert kind(num_train=300, num_val=40, num_test=50, seed=1).examples("test") != test


def test_letters_are_reversed() -> None:
    task = ReverseTask("xyz", min_length=5, max_length=7, num_train=50, num_val=1, num_test=1)
    for source, (target,) in task.examples("train"):
        assert target == source[::-1]
        assert set(source) <= set("xyz ")
        assert 5 <= len(source.split()) <= 7


def test_dates_are_those_that_are_written() -> None:
    seen = set()
    for source, (target,) in DateTask(2000, 1, 1).examples("train"):
        words = source.replace(",", "").split()
        day = date.fromisoformat(target)
        (month,) = [word for word in words if word[:3].lower() in MONTHS and not word.endswith("day")]
        (number,) = [word for word in words if word[0].isdigit() and len(word) < 4 + (not word.isdigit())]
        assert MONTHS.index(month[:3].lower()) + 1 == day.month
        assert int("".join(letter for letter in number if letter.isdigit())) == day.day
        assert str(day.year) in words
        if words[0].endswith("day"):
            assert words[0] == day.strftime("%A")
        seen.add(number)
    assert {"1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st", "30"} <= seen


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (85, "eighty-five"),
        (100, "one hundred"),
        (999, "nine hundred and ninety-nine"),
        (1000, "one thousand"),
        (12_007, "twelve thousand and seven"),
        (120_340, "one hundred and twenty thousand three hundred and forty"),
        (999_099, "nine hundred and ninety-nine thousand and ninety-nine"),
    ],
)
def test_numbers_in_words(number: int, words: str) -> None:
    assert number_words(number) == words


def test_numbers_have_different_words_and_of_each_length_there_are_many() -> None:
    assert len({number_words(number) for number in range(0, 1_000_000, 97)}) == len(range(0, 1_000_000, 97))
    lengths = [len(target) for _, (target,) in NumberTask(3000, 1, 1).examples("train")]
    assert max(lengths) == 6
    assert min(lengths.count(digits) for digits in (3, 4, 5, 6)) > 300


def test_invalid_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"^ReverseTask: num_train \+ .* number of different examples.*, got 40$"):
        ReverseTask("ab", min_length=1, max_length=3, num_train=38, num_val=1, num_test=1).examples("val")
    with pytest.raises(ValueError, match=r"^NumberTask: num_val must be an integer of at least 1, got 0$"):
        NumberTask(num_val=0)
    with pytest.raises(ValueError, match=r"ReverseTask: letters must be at least two different letters.*, got 'a'"):
        ReverseTask(letters="a")
    with pytest.raises(ValueError, match="got min_length 5 and max_length 4"):
        ReverseTask(min_length=5, max_length=4)
