import pytest

from reports.word_diff import word_diff


@pytest.mark.parametrize(
    ("reference", "hypothesis", "missing", "extra"),
    [
        ("a red dog", "a red dog", [], []),
        ("the red dog runs", "a red dog", ["the", " runs"], ["a"]),
        ("2024-12-31", "2024-11-31", ["12"], ["11"]),
        ("他在睡觉", "他不睡觉", ["在"], ["不"]),
        ("", "new", [], ["new"]),
        ("gone", "", ["gone"], []),
    ],
)
def test_what_differs_is_marked_word_by_word(reference, hypothesis, missing, extra):
    diff = word_diff(reference, hypothesis)
    assert "".join(piece.text for piece in diff.reference) == reference
    assert "".join(piece.text for piece in diff.hypothesis) == hypothesis
    assert [piece.text for piece in diff.reference if piece.differs] == missing
    assert [piece.text for piece in diff.hypothesis if piece.differs] == extra
    assert (diff.equality == 1) == (reference == hypothesis)


@pytest.mark.parametrize("text", ["a  b\tc\n", "naïve — “quotes” 3.14%", "日本語 text ミックス", "🙂 <b>&amp;</b> _x_"])
def test_no_character_is_lost(text):
    assert "".join(piece.text for piece in word_diff(text, "other").reference) == text
