"""The text of the character LSTM in RESULTS.md: the first abstracts of SciTLDR, a million characters, one per line.

python -m scripts.abstracts data/scitldr/train.jsonl abstracts.txt
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from utils.files import write_text


def first_abstracts(lines: Iterable[str], characters: int) -> list[str]:
    """Return the abstracts of a JSON Lines file, from the first on, until there are enough characters.

    Args:
        lines: Objects whose field `source` is an abstract, one sentence per line.
        characters: Minimum number of characters, with a line break after each abstract.
    """
    abstracts: list[str] = []
    count = 0
    for line in lines:
        abstracts.append(json.loads(line)["source"].replace("\n", " "))
        count += len(abstracts[-1]) + 1
        if count >= characters:
            break
    return abstracts


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and write the text."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path, help="train.jsonl of SciTLDR")
    parser.add_argument("output", type=Path, help="text file to write")
    parser.add_argument("--characters", type=int, default=1_000_000, help="minimum number of characters")
    options = parser.parse_args(arguments)
    with options.source.open(encoding="utf-8") as lines:
        write_text(options.output, "\n".join(first_abstracts(lines, options.characters)))


if __name__ == "__main__":
    main()
