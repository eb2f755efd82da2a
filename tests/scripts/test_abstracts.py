"""The text of the character LSTM."""

import json
from pathlib import Path

from scripts.abstracts import main


def test_the_first_abstracts_are_one_line_each_until_there_are_enough_characters(tmp_path: Path) -> None:
    sources = ["One.\nTwo.", "Three.", "Four."]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps({"source": source}) + "\n" for source in sources))
    main([str(tmp_path / "train.jsonl"), str(tmp_path / "out.txt"), "--characters", "11"])
    assert (tmp_path / "out.txt").read_text() == "One. Two.\nThree."
