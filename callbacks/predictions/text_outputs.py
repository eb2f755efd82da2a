"""Files with the text generated for each test example, and its references."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.text_lines import one_line
from utils.batches import GeneratedText
from utils.contracts import GeneratesText
from utils.files import write_lines


class TextOutputs(Callback):
    """Three files about a test in the run folder, each with one line per example in the data's order.

    `test_hypotheses.txt` and `test_references.txt` are what the `sacrebleu` command reads: several references of an
    example are separated by tabs (`--num-refs N`, which requires N of every example). Line breaks become spaces there,
    and so do tabs in a reference.
    `test_outputs.jsonl` has every text unchanged: `index`, `source`, `references`, `hypothesis`, and `score` (null if
    there is no finite one).

    The module must implement `utils.contracts.GeneratesText`; without generated text, nothing is written.
    """

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files."""
        if not isinstance(pl_module, GeneratesText) or not pl_module.generated or not trainer.is_global_zero:
            return
        generated = pl_module.generated
        folder = Path(trainer.default_root_dir)
        write_lines(folder / "test_hypotheses.txt", (one_line(text.hypothesis) for text in generated))
        write_lines(folder / "test_references.txt", map(_references, generated))
        write_lines(folder / "test_outputs.jsonl", _json_lines(generated))


def _references(text: GeneratedText) -> str:
    return "\t".join(one_line(reference).replace("\t", " ") for reference in text.references)


def _json_lines(generated: list[GeneratedText]) -> Iterator[str]:
    for text in generated:
        content = {
            "index": text.index,
            "source": text.source,
            "references": list(text.references),
            "hypothesis": text.hypothesis,
            # JSON has no NaN
            "score": text.score if text.score is not None and math.isfinite(text.score) else None,
        }
        yield json.dumps(content, ensure_ascii=False)
