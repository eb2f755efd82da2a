"""A T5 small enough to train in a blink, a tokenizer of single letters, and a datamodule of random pairs."""

import dataclasses
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from torch.nn import functional as F

from architectures.t5.config import T5Config
from architectures.t5.model import T5
from datamodules.loader import BatchLoader, training_position
from lightning_modules.optim.schedules import Constant
from lightning_modules.text_seq2seq import TextSeq2Seq
from utils.batches import Seq2SeqBatch

WORDS = ["<pad>", "</s>", "<unk>", *"abcdefghijklmnopqrstu"]


def word_tokenizer(words: list[str] = WORDS) -> Tokenizer:
    """Return a tokenizer of words between spaces, whose ids are their places; it appends </s>."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    tokenizer.add_special_tokens(words[:3])
    return tokenizer


def network(dropout_rate: float = 0.0, **fields: Any) -> T5:
    """Return a T5 with one block, always with the same weights; `fields` are those of `T5Config`."""
    torch.manual_seed(0)
    shape = {"vocab_size": 24, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 1, "num_heads": 4}
    return T5(T5Config(dropout_rate=dropout_rate, **{**shape, **fields}))


def sgd(lr: float = 0.1) -> Any:
    """Return what a LightningModule makes its optimizer with."""
    return lambda groups: torch.optim.SGD(groups, lr=lr)


def seq2seq(net: T5 | None = None, **arguments: Any) -> TextSeq2Seq:
    """Return a `TextSeq2Seq` with plain gradient descent and a constant learning rate."""
    arguments = {"optimizer": sgd(), "schedule": Constant, "max_length": 12, **arguments}
    return TextSeq2Seq(net or network(), **arguments)


def loader(batches: Any, fetch: Any) -> BatchLoader[Seq2SeqBatch]:
    """Return a loader that makes each batch from the places in `batches`."""
    return BatchLoader(lambda epoch: batches, lambda places, epoch, step: fetch(places))


class Data(LightningDataModule):
    """`count` pairs of random letters of unequal lengths, in batches of `batch_size`, or of the given `sizes`."""

    def __init__(self, count: int = 8, batch_size: int = 8, sizes: list[int] | None = None) -> None:
        super().__init__()
        self.tokenizer = word_tokenizer()
        generator = torch.Generator().manual_seed(1)
        self.pairs: list[tuple[str, str]] = []
        for _ in range(count):
            letters = [WORDS[k] for k in torch.randint(3, 24, (16,), generator=generator).tolist()]
            source, target = torch.randint(1, 8, (2,), generator=generator).tolist()
            self.pairs.append((" ".join(letters[:source]), " ".join(letters[8 : 8 + target])))
        self.places = torch.arange(count).split(sizes or batch_size)
        self.predict_count = count

    def batch(self, places: Tensor, step_tokens: int = 0) -> Seq2SeqBatch:
        sources, targets = ([self.pairs[place][side] for place in places] for side in (0, 1))
        input_ids = self.padded(sources, 0)
        return Seq2SeqBatch(
            input_ids=input_ids,
            attention_mask=input_ids != 0,
            labels=self.padded(targets, -100),
            index=places,
            sources=[] if step_tokens else sources,
            references=[] if step_tokens else [(target,) for target in targets],
            step_tokens=step_tokens,
        )

    def padded(self, texts: list[str], value: int) -> Tensor:
        ids = [self.tokenizer.encode(text).ids for text in texts]
        width = 1 + max(map(len, ids), default=0)  # a column of nothing but padding
        return torch.tensor([row + [value] * (width - len(row)) for row in ids], dtype=torch.long).view(-1, width)

    def tokens(self, places: Tensor) -> int:
        return sum(len(self.pairs[place][1].split()) + 1 for place in places)

    def train_dataloader(self) -> Any:
        def fetch(places: Tensor, epoch: int, step: int) -> Seq2SeqBatch:
            parts = self.trainer.accumulate_grad_batches  # type: ignore[union-attr]
            group = self.places[step - step % parts :][:parts]
            return self.batch(places, sum(map(self.tokens, group)))

        return BatchLoader(lambda epoch: self.places, fetch, lambda: training_position(self.trainer))

    def val_dataloader(self) -> Any:
        return loader(self.places[::-1], self.batch)

    test_dataloader = val_dataloader

    def predict_dataloader(self) -> Any:
        def fetch(places: Tensor) -> Seq2SeqBatch:
            nothing = torch.zeros(len(places), 0, dtype=torch.long)
            return self.batch(places)._replace(labels=nothing, references=[])

        return loader(self.places, fetch)

    def whole(self) -> Seq2SeqBatch:
        return self.batch(torch.arange(len(self.pairs)))


def talkative() -> T5:
    """Return a network that generates texts of different words and lengths, others greedily than with beams."""
    config = dataclasses.replace(network().config, tie_word_embeddings=False)
    torch.manual_seed(1)
    net = T5(config).eval()
    with torch.no_grad():
        net.lm_head.weight.mul_(2)
    return net


def mean_loss(net: T5, batch: Seq2SeqBatch, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean over all target tokens, by torch's own cross-entropy."""
    shifted = torch.cat([torch.zeros(len(batch.labels), 1, dtype=torch.long), batch.labels[:, :-1].clamp(min=0)], 1)
    logits = net(batch.input_ids, batch.attention_mask, shifted)
    return F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), label_smoothing=label_smoothing)


def token_accuracy(net: T5, data: Data) -> float:
    right = scored = 0
    for place in range(len(data.pairs)):
        batch = data.batch(torch.tensor([place]))
        best = net(batch.input_ids, batch.attention_mask, net.shift_right(batch.labels)).argmax(-1)
        right += int((best == batch.labels)[batch.labels != -100].sum())
        scored += int((batch.labels != -100).sum())
    return right / scored
