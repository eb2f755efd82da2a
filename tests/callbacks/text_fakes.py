"""A text module small enough to run a whole Trainer in a fraction of a second."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from tokenizers.pre_tokenizers import Split
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from utils.batches import GeneratedText, Hypotheses, Seq2SeqBatch

EOS = 1


def tokenizer_of(tokens: list[str | None]) -> Tokenizer:
    """A tokenizer with these tokens by id, one per character of a text; </s>, which must be token 1, ends each text."""
    tokenizer = Tokenizer(WordLevel({token: number for number, token in enumerate(tokens) if token is not None}))
    tokenizer.normalizer = Replace(" ", "▁")  # the mark of a word's start
    tokenizer.pre_tokenizer = Split(Regex("."), "isolated")
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", EOS)])
    return tokenizer


def characters(alphabet: str = "abcdefghij ") -> Tokenizer:
    """A tokenizer with a token per character of `alphabet`, from id 2."""
    return tokenizer_of([None, "</s>", *alphabet.replace(" ", "▁")])


class Weights(NamedTuple):
    cross: list[Tensor]


class TinyNetwork(nn.Module):
    """Two heads and `depth` layers of an attention that says which layer, head, token and place it is."""

    def __init__(self, depth: int = 3, vocab_size: int = 16) -> None:
        super().__init__()
        self.depth = depth
        self.embedding = nn.Embedding(vocab_size, 4)
        self.decoder = nn.Sequential(nn.Linear(4, 4), nn.Tanh())
        self.head = nn.Linear(4, vocab_size)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.head(self.decoder(self.embedding(input_ids)))

    def shift_right(self, labels: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], 1)

    def attention_weights(
        self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor, *, cross_only: bool
    ) -> Weights:
        assert attention_mask.all()
        assert attention_mask.shape == input_ids.shape
        heads = torch.tensor([1.0, 3.0])[:, None, None]  # [H, 1, 1]
        scores = heads * (decoder_input_ids[0, :, None] + 1) * input_ids[0] / 50  # [H, T, S]
        return Weights([(scores * (layer + 1)).softmax(-1)[None] for layer in range(self.depth)])


class TinyWriter(LightningModule):
    """Writes `hypotheses[index]` for each example; during a fit, the epoch and the step after it."""

    unit = "tokens"

    def __init__(self, hypotheses: list[str], depth: int = 3) -> None:
        super().__init__()
        self.hypotheses = hypotheses
        self.architecture = TinyNetwork(depth)
        self.tokenizer: Tokenizer | None = characters()
        self.generated: list[GeneratedText] = []
        self.signature: str | None = None
        self.references: tuple[str, ...] = ("ab", "cd")

    def training_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Tensor:
        logits = self.architecture(batch.input_ids)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch.input_ids.flatten())
        self.log("train/step_loss", loss)
        return loss

    def validation_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        self.log("val/loss", 1.0, batch_size=len(batch.index))
        self._generate()

    def test_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        self._generate()

    def predict_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Hypotheses:
        return {"index": batch.index, "hypotheses": [self.hypotheses[index] for index in batch.index.tolist()]}

    def _generate(self) -> None:
        when = f" {self.current_epoch}.{self.global_step}" if self.trainer.state.fn == "fit" else ""
        self.generated = [
            GeneratedText(index, f"source {index}", self.references, text + when, -float(index))
            for index, text in enumerate(self.hypotheses)
        ]

    on_validation_epoch_end = on_test_epoch_end = _generate

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.5)


class Batches:
    """A loader of ready batches that begins where the training stands."""

    def __init__(self, batches: list[Seq2SeqBatch], position: Callable[[], int] = lambda: 0) -> None:
        self.batches, self.position = batches, position

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Seq2SeqBatch]:
        yield from self.batches[self.position() :]  # asked for when the first is wanted, as BatchLoader does


class TinyText(LightningDataModule):
    """The same batches in every split; `lines` is what the file to predict has."""

    def __init__(self, batches: list[Seq2SeqBatch], lines: int | None = None) -> None:
        super().__init__()
        self.batches = batches
        if lines is not None:
            self.predict_count = lines

    def _position(self) -> int:
        return self.trainer.fit_loop.epoch_loop.batch_progress.current.ready  # type: ignore[union-attr]

    def train_dataloader(self) -> Batches:
        return Batches(self.batches, self._position)

    def val_dataloader(self) -> Batches:
        return Batches(self.batches)

    test_dataloader = predict_dataloader = val_dataloader


def batch_of(sources: dict[int, list[int]], left: bool = False) -> Seq2SeqBatch:
    """Sources by index, padded with 0 on either side."""
    longest = max(map(len, sources.values()))
    padded = [
        [0] * (longest - len(row)) + row if left else row + [0] * (longest - len(row)) for row in sources.values()
    ]
    input_ids = torch.tensor(padded)
    labels, index = torch.full((len(sources), 1), EOS), torch.tensor(list(sources))
    return Seq2SeqBatch(input_ids, input_ids != 0, labels, index, sources=[], references=[], step_tokens=0)


def random_batches(count: int) -> list[Seq2SeqBatch]:
    generator = torch.Generator().manual_seed(0)
    draw = torch.randint(2, 16, (count, 2, 5), generator=generator)
    return [batch_of({2 * k: rows[0].tolist(), 2 * k + 1: rows[1].tolist()}) for k, rows in enumerate(draw)]
