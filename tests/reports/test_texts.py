import pytest

from reports.texts import read_examples


def test_examples_are_those_of_the_beginning_and_the_worst(text_run):
    examples = read_examples(text_run / "test_outputs.jsonl")
    assert [each.place for each in examples.first] == [0, 1, 2]
    assert [each.place for each in examples.worst] == [2, 1]  # the exact one is not among them
    assert (examples.total, examples.exact) == (3, 1)
    best = "".join(piece.text for piece in examples.first[1].diff.reference)
    assert best == "a red dog"  # of two references, the one more like the output
    assert examples.first[1].score is None


def test_lengths_are_counted_in_words(text_run):
    chart = read_examples(text_run / "test_outputs.jsonl").lengths
    assert chart.x == "length in characters"  # one source is a single word
    path = text_run / "test_outputs.jsonl"
    path.write_text('{"index": 0, "source": "a b c", "references": ["d e"], "hypothesis": "f g h i"}\n' * 2)
    chart = read_examples(path).lengths
    assert chart.x == "length in words"
    assert {series.label: dict(zip(series.x, series.y, strict=True)) for series in chart.series} == {
        "reference": {0: 0, 1: 0, 2: 2, 3: 0, 4: 0},
        "output": {0: 0, 1: 0, 2: 0, 3: 0, 4: 2},
        "source": {0: 0, 1: 0, 2: 0, 3: 2, 4: 0},
    }


def test_a_damaged_line_is_named(text_run):
    path = text_run / "test_outputs.jsonl"
    with path.open("a") as file:
        file.write('{"index": 3, "sour')
    with pytest.raises(ValueError, match=r"test_outputs\.jsonl line 4 is damaged; repeat the test"):
        read_examples(path)
    path.write_text("")
    assert read_examples(path) is None
