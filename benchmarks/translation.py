"""Benchmark of translating 1,000 sentences from end to end, against transformers: from a text file to a text file.

    python -m benchmarks.translation
    python -m benchmarks.translation --data ~/multi30k --dtype bfloat16 --device cuda

Ours is what `oneforall predict` does; transformers tokenizes, generates and decodes 32 sentences at a time, in the
order of the file, as its examples do. Both have the same tokenizer, the same weights and the same beam search. The
weights are of the shape of configs/multi30k and are trained for a minute, so that outputs end where sentences end.
Without Multi30k, the sentences are invented.
"""

import argparse
import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer

from architectures.t5.config import T5Config
from architectures.t5.hf_weights import published_name
from architectures.t5.model import T5
from benchmarks.data import sentence_pairs
from benchmarks.paired import compare, finish, options
from benchmarks.shipped import trainer_on
from benchmarks.t5_training import QUICK, multi30k_shape
from benchmarks.transformers_t5 import make_theirs
from callbacks.predictions.text_predictions import TextPredictions
from datamodules.text.files import read_lines
from datamodules.text.tasks import PairedFiles
from datamodules.text.tokenizer import train_tokenizer
from datamodules.text_seq2seq import TextSeq2SeqDataModule
from lightning_modules.optim.scaled_adamw import ScaledAdamW
from lightning_modules.text_seq2seq import TextSeq2Seq
from utils.batches import IGNORED

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SAME_LINES = 0.9
"""Share of lines that must be the same in float32: where two hypotheses are equally good, rounding decides."""
AT_ONCE = 32
MAX_LENGTH = 100


def read_pairs(folder: Path, count: int, sentences: int) -> tuple[list[str], list[str], list[str], str]:
    """Return training sources and targets, sources to translate, and where they are from."""
    names = ("train.en", "train.de", "test_2016_flickr.en")
    files = [next((path for end in ("", ".gz") if (path := folder / (name + end)).is_file()), None) for name in names]
    if None in files:
        sources, targets = sentence_pairs(count + sentences)
        return sources[:count], targets[:count], sources[count:], "invented sentences"
    train_source, train_target, test = (
        _lines(path, limit) for path, limit in zip(files, (count, count, sentences), strict=True) if path
    )
    return train_source, train_target, test, "sentences of Multi30k"


def _lines(path: Path, limit: int) -> list[str]:
    return [line.strip() for line in islice(read_lines(str(path), "--data"), limit)]


def train_briefly(network: T5, sources: list[list[int]], targets: list[list[int]], steps: int, batch: int) -> None:
    """Train until outputs end where sentences end, which is the first thing that a model learns."""
    device = next(network.parameters()).device
    optimizer = ScaledAdamW(network.parameters(), lr=0.015, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (steps / 4 + 1)))
    order = torch.randperm(len(sources), generator=torch.Generator().manual_seed(0)).tolist()
    network.train()
    for step in range(steps):
        rows = [order[(step * batch + row) % len(order)] for row in range(batch)]
        input_ids = _padded([sources[row] for row in rows], 0).to(device)
        labels = _padded([targets[row] for row in rows], IGNORED).to(device)
        sums = network.loss(input_ids, input_ids != 0, labels, 0.1)
        optimizer.zero_grad()
        (sums.loss / sums.tokens).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    network.eval()


def _padded(rows: list[list[int]], padding: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, padding)


def our_translation(module: TextSeq2Seq, text: Path, output: Path, device: torch.device) -> Callable[[], list[str]]:
    """Return a function that translates a file as `oneforall predict` does, and returns the lines that it wrote."""

    def translate() -> list[str]:
        data = TextSeq2SeqDataModule(
            PairedFiles(*[str(text)] * 4),
            max_source_length=MAX_LENGTH,
            max_target_length=MAX_LENGTH,
            cache_dir=None,
            predict_path=str(text),
        )
        trainer = Trainer(
            **trainer_on(device),
            precision="bf16-true" if next(module.parameters()).dtype == torch.bfloat16 else "32-true",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=output.parent,
            callbacks=[TextPredictions(output)],
        )
        trainer.predict(module, datamodule=data, return_predictions=False)
        return output.read_text(encoding="utf-8").splitlines()

    return translate


def their_translation(
    model: Any, tokenizer: "Tokenizer", text: Path, output: Path, beams: int, device: torch.device
) -> Callable[[], list[str]]:
    """Return a function that translates a file as an example of transformers does."""
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")

    def translate() -> list[str]:
        lines = text.read_text(encoding="utf-8").splitlines()
        written: list[str] = []
        for start in range(0, len(lines), AT_ONCE):
            batch = fast(lines[start : start + AT_ONCE], return_tensors="pt", padding=True, truncation=True,
                         max_length=MAX_LENGTH).to(device)  # fmt: skip
            tokens = model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], num_beams=beams,
                max_length=MAX_LENGTH + 1, do_sample=False,
            )  # fmt: skip
            written += fast.batch_decode(tokens, skip_special_tokens=True)
        output.write_text("\n".join(written) + "\n", encoding="utf-8")
        return output.read_text(encoding="utf-8").splitlines()

    return translate


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = options("benchmarks.translation", __doc__)
    parser.set_defaults(rounds=2)
    parser.add_argument(
        "--data", type=Path, default=Path("data", "multi30k"), help="folder of Multi30k (default: data/multi30k)"
    )
    parser.add_argument("--sentences", type=int, default=1000, help="sentences to translate (default: 1000)")
    parser.add_argument("--training-steps", type=int, default=80, help="steps of the brief training (default: 80)")
    parser.add_argument("--beams", type=int, default=4, help="beam size (default: 4)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="dtype of the weights")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark with the options of the command line."""
    args = parser().parse_args(arguments)
    torch.manual_seed(0)
    pairs, dimensions, batch = 10_000, multi30k_shape(), 120
    if args.quick:
        pairs, dimensions, batch = 60, QUICK | {"vocab_size": 400}, 8
        args.sentences, args.training_steps, args.rounds = 12, 2, 1
    sources, targets, texts, what = read_pairs(args.data, pairs, args.sentences)
    tokenizer = train_tokenizer([*sources, *targets], dimensions["vocab_size"], num_sentinels=0)
    network = T5(T5Config(**dimensions)).to(args.device)
    encoded = [[row.ids[:MAX_LENGTH] for row in tokenizer.encode_batch(side)] for side in (sources, targets)]
    train_briefly(network, encoded[0], encoded[1], args.training_steps, batch)
    theirs = make_theirs(network.config).to(args.device)
    theirs.load_state_dict({published_name(name): value for name, value in network.state_dict().items()}, strict=False)
    module = TextSeq2Seq(network, max_length=MAX_LENGTH, num_beams=args.beams)
    module.tokenizer = tokenizer
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        text, part = scratch / "text.txt", scratch / "part.txt"
        text.write_text("\n".join(texts) + "\n", encoding="utf-8")
        part.write_text("\n".join(texts[:100]) + "\n", encoding="utf-8")

        def both(file: Path) -> dict[str, Callable[[], list[str]]]:
            return {
                "ours": our_translation(module, file, scratch / "ours.txt", args.device),
                "transformers": their_translation(
                    theirs, tokenizer, file, scratch / "theirs.txt", args.beams, args.device
                ),
            }

        def check() -> str:
            mine, yours = (translate() for translate in both(part).values())
            same = sum(one == other for one, other in zip(mine, yours, strict=True)) / len(mine)
            if same < SAME_LINES:
                raise AssertionError(f"only {same:.0%} of the lines are the same")
            words = sum(len(line.split()) for line in mine) / len(mine)
            for model in (module, theirs):
                model.to(getattr(torch, args.dtype))
            if args.dtype != "float32":  # that type's first kernels are no part of the timing
                for translate in both(part).values():
                    translate()
            return f"{same:.0%} of {len(mine)} lines are the same in float32; {words:.1f} words per line"

        work = f"{len(texts)} {what} from file to file, {args.beams} beams, {args.dtype}"
        name = f"translation_{args.dtype}"
        comparison = compare(
            name, work, both(text), check, rounds=args.rounds, warm_up=0, device=args.device, limit=args.seconds
        )
    comparison.figures["sentences per second"] = len(texts) / comparison.median("ours")
    finish(comparison, args)


if __name__ == "__main__":
    main()
