"""Tables of token ids against lists of rows."""

from __future__ import annotations

import numpy as np
import pytest

from datamodules.text.token_table import TokenTable
from tests.datamodules.text.counting import rows

ROWS = [[5, 6, 7, 1], [1], [8, 9, 1], [], [2, 3, 4, 5, 1]]


def test_a_table_has_its_rows_in_two_arrays() -> None:
    table = TokenTable.of(ROWS)
    assert rows(table) == ROWS
    assert len(table) == 5
    assert table.lengths().tolist() == [4, 1, 3, 0, 5]
    assert table.ids.dtype == np.int32
    assert table.starts.dtype == np.uint32
    assert len(table.ids) == 13


def test_a_table_may_be_empty() -> None:
    nothing = TokenTable.of([[1]]).select(np.array([False]))
    for table in (TokenTable.of([]), TokenTable.join([]), nothing, TokenTable.join([nothing, nothing])):
        assert len(table) == 0
        assert table.lengths().tolist() == []
        assert table.ids.dtype == np.int32
    assert TokenTable.of([[], []]).lengths().tolist() == [0, 0]


@pytest.mark.parametrize("max_length", [1, 3, 4])
def test_long_rows_are_truncated_and_end_with_the_given_token(max_length: int) -> None:
    table = TokenTable.of(ROWS)
    expected = [row if len(row) <= max_length else [*row[: max_length - 1], 9] for row in ROWS]
    assert rows(table.truncate(max_length, 9)) == expected
    assert rows(table) == ROWS  # which is not changed


def test_tables_made_from_others_share_their_ids() -> None:
    table = TokenTable.of(ROWS)
    assert table.truncate(5, 1) is table
    assert table.select(np.ones(5, bool)) is table
    assert TokenTable.join([table]) is table
    assert table.truncate(2, 1).ids is table.select(table.lengths() > 1).ids is table.ids


def test_truncated_rows_are_selected_joined_and_truncated_again() -> None:
    table = TokenTable.of(ROWS).truncate(3, 9).select(np.array([True, False, True, True, True]))
    expected = [[5, 6, 9], [8, 9, 1], [], [2, 3, 9]]
    assert rows(table) == expected
    assert table.lengths().tolist() == [3, 3, 0, 3]
    assert rows(TokenTable.join([table, TokenTable.of([[4]])])) == [*expected, [4]]
    assert rows(table.truncate(2, 7)) == [[5, 7], [8, 7], [], [2, 7]]


def test_rows_are_selected_and_joined() -> None:
    table = TokenTable.of(ROWS)
    selected = table.select(np.array([False, True, True, False, True]))
    assert rows(selected) == [ROWS[1], ROWS[2], ROWS[4]]
    assert rows(TokenTable.join([selected, TokenTable.of([]), table])) == [ROWS[1], ROWS[2], ROWS[4], *ROWS]
