"""Toy tasks that need no files, to see within minutes that a model learns."""

from __future__ import annotations

from abc import abstractmethod
from datetime import date, timedelta
from typing import Any

import numpy as np

from datamodules.text.tasks import Example, Split, TextTask
from utils.checks import check_int, check_positive_int
from utils.random_streams import numpy_generator

# fmt: off
_ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
]
_WEEKDAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
# fmt: on


class ToyTask(TextTask):
    """Base class of the toy tasks: distinct random examples, none of which is in two splits.

    Args:
        num_train: Number of training examples.
        num_val: Number of validation examples.
        num_test: Number of test examples.
        seed: Seed of the examples, separate from the run's seed so that runs with different seeds are scored on the
            same examples.
        **options: Arguments of `TextTask`.

    Raises:
        ValueError: A number is out of range.
    """

    def __init__(
        self,
        num_train: int = 10_000,
        num_val: int = 500,
        num_test: int = 500,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        sizes = {"train": num_train, "val": num_val, "test": num_test}
        name = type(self).__name__
        self.sizes = {split: check_positive_int(f"{name}: num_{split}", size) for split, size in sizes.items()}
        self.seed = check_int(f"{name}: seed", seed)
        self._drawn: list[Example] | None = None

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> Example:
        """Return a random example."""

    def examples(self, split: Split) -> list[Example]:
        """Return the examples of a split, all of which are drawn on first use."""
        if self._drawn is None:
            self._drawn = self._draw_distinct(sum(self.sizes.values()))
        start = 0
        for name, size in self.sizes.items():
            if name == split:
                return self._drawn[start : start + size]
            start += size
        raise ValueError(f"no split {split!r}")

    def _draw_distinct(self, count: int) -> list[Example]:
        generator = numpy_generator("toy_examples", self.seed)
        found: dict[str, Example] = {}
        for _ in range(20 * count + 1000):
            example = self.draw(generator)
            found.setdefault(example.source, example)
            if len(found) == count:
                return list(found.values())
        raise ValueError(
            f"{type(self).__name__}: num_train + num_val + num_test must be at most the number of different examples, "
            f"about {len(found)}, got {count}"
        )


class ReverseTask(ToyTask):
    """Letters to write in reverse order: "d a c" becomes "c a d".

    Args:
        letters: The alphabet: at least two letters, no spaces.
        min_length: Minimum number of letters, at least 1.
        max_length: Maximum number of letters.
        **options: Arguments of `ToyTask`.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        letters: str = "abcdefghij",
        min_length: int = 4,
        max_length: int = 10,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if len(set(letters)) < 2 or any(letter.isspace() for letter in letters):
            raise ValueError(f"ReverseTask: letters must be at least two different letters, no spaces, got {letters!r}")
        if not 1 <= min_length <= max_length:
            raise ValueError(
                "ReverseTask: min_length must be at least 1 and at most max_length, got min_length "
                f"{min_length} and max_length {max_length}"
            )
        self.letters = letters
        self.min_length = min_length
        self.max_length = max_length

    def draw(self, generator: np.random.Generator) -> Example:
        """Return letters, separated by spaces, and the same in reverse order."""
        length = generator.integers(self.min_length, self.max_length + 1)
        drawn = [self.letters[place] for place in generator.integers(len(self.letters), size=length)]
        return Example(" ".join(drawn), (" ".join(reversed(drawn)),))


class DateTask(ToyTask):
    """Dates from 1900 to 2099 in five English formats, to ISO: "Tuesday, the 3rd of May 1977" becomes "1977-05-03"."""

    def draw(self, generator: np.random.Generator) -> Example:
        """Return a date in one of the five formats, and in ISO's."""
        day = date(1900, 1, 1) + timedelta(days=int(generator.integers((date(2100, 1, 1) - date(1900, 1, 1)).days)))
        month, weekday = _MONTHS[day.month - 1], _WEEKDAYS[day.weekday()]
        text = (
            f"{month} {day.day}, {day.year}",
            f"{day.day} {month} {day.year}",
            f"the {_ordinal(day.day)} of {month} {day.year}",
            f"{weekday}, the {_ordinal(day.day)} of {month} {day.year}",
            f"{weekday}, {month[:3]} {day.day}, {day.year}",
        )[generator.integers(5)]
        return Example(text, (day.isoformat(),))


def _ordinal(number: int) -> str:
    ending = "th" if number in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


class NumberTask(ToyTask):
    """Numbers below a million from English words to digits: "twelve thousand and seven" becomes "12007"."""

    def draw(self, generator: np.random.Generator) -> Example:
        """Return a number in words and in digits; each number of digits from 1 to 6 has the same probability."""
        digits = int(generator.integers(1, 7))
        number = int(generator.integers(10 ** (digits - 1) if digits > 1 else 0, 10**digits))
        return Example(number_words(number), (str(number),))


def number_words(number: int) -> str:
    """Return a number from 0 to 999,999 in words, in British English: 12,007 is "twelve thousand and seven"."""
    thousands, rest = divmod(number, 1000)
    if not thousands:
        return _below_thousand(rest)
    words = f"{_below_thousand(thousands)} thousand"
    if rest:
        words += (" and " if rest < 100 else " ") + _below_thousand(rest)
    return words


def _below_thousand(number: int) -> str:
    if number < 20:
        return _ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")
    hundreds, rest = divmod(number, 100)
    return f"{_ONES[hundreds]} hundred" + (f" and {_below_thousand(rest)}" if rest else "")
