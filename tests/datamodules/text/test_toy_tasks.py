"""Tasks without files: right answers, and splits that share nothing."""

from __future__ import annotations

from datetime import date

import pytest

from datamodules.text.toy_tasks import DateTask, NumberTask, ReverseTask, ToyTask, number_words

MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905


@pytest.mark.parametrize("kind", [ReverseTask, DateTask, NumberTask])
def test_splits_are_of_the_size_asked_for_and_share_nothing(kind: type[ToyTask]) -> None:
    task = kind(num_train=300, num_val=40, num_test=50)
    train, val, test = (task.examples(split) for split in ("train", "val", "test"))  # type: ignore[arg-type]
    assert [len(train), len(val), len(test)] == [300, 40, 50]
    assert len({example.source for example in [*train, *val, *test]}) == 390
    assert kind(num_train=300, num_val=40, num_test=50).examples("test") == test
    assert kind(num_train=300, num_val=40, num_test=50, seed=1).examples("test") != test


def test_reversed_letters() -> None:
    for source, (target,) in ReverseTask(50, 1, 1, letters="xyz", min_length=5, max_length=7).examples("train"):
        assert target == source[::-1] and set(source) <= set("xyz ") and 5 <= len(source.split()) <= 7


def test_dates_are_read_as_they_are_written() -> None:
    seen = set()
    for source, (target,) in DateTask(2000, 1, 1).examples("train"):
        words = source.replace(",", "").split()
        day = date.fromisoformat(target)
        (month,) = [word for word in words if word[:3].lower() in MONTHS and not word.endswith("day")]
        (number,) = [word for word in words if word[0].isdigit() and len(word) < 4 + (not word.isdigit())]
        assert MONTHS.index(month[:3].lower()) + 1 == day.month
        assert int("".join(letter for letter in number if letter.isdigit())) == day.day and str(day.year) in words
        if words[0].endswith("day"):
            assert words[0] == day.strftime("%A")
        seen.add(number)
    assert {"1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "22nd", "23rd", "31st", "30"} <= seen


def test_number_words() -> None:
    for number, words in (
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
    ):
        assert number_words(number) == words
    assert len({number_words(number) for number in range(0, 1_000_000, 97)}) == len(range(0, 1_000_000, 97))
    lengths = [len(target) for _, (target,) in NumberTask(3000, 1, 1).examples("train")]
    assert max(lengths) == 6 and min(lengths.count(digits) for digits in (3, 4, 5, 6)) > 300


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="is 40, more than there are"):
        ReverseTask(38, 1, 1, letters="ab", min_length=1, max_length=3).examples("val")
    with pytest.raises(ValueError, match="num_val is 0"):
        NumberTask(num_val=0)
    with pytest.raises(ValueError, match="letters is 'a'"):
        ReverseTask(letters="a")
    with pytest.raises(ValueError, match="min_length is 5 and max_length 4"):
        ReverseTask(min_length=5, max_length=4)
