"""Trains, scores and runs T5 on any task that turns text into text."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import lightning as L
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from architectures.t5.generation import Search, generate
from architectures.t5.model import T5
from lightning_modules.epoch_sums import EpochSums
from lightning_modules.gathering import gathered
from lightning_modules.optimizers import parameter_groups
from lightning_modules.pretrained_t5 import load_weights
from lightning_modules.schedules import with_schedule
from lightning_modules.seeding import reseed
from lightning_modules.text_scores import BleuTokenizer, ScoreName, names_of, score_texts, signature


class GeneratedText(NamedTuple):
    """What the model wrote for one example.

    Attributes:
        index: The example's place in its split.
        source: What was read, without the task's prefix.
        references: What might have been written.
        hypothesis: What was.
        score: The sum of its log-probabilities divided by length**length_penalty.
    """

    index: int  # type: ignore[assignment]  # hides a method of tuple that nobody needs
    source: str
    references: tuple[str, ...]
    hypothesis: str
    score: float


class TextSeq2Seq(L.LightningModule):
    """Text in, text out: loss, optimizer, schedule, decoding and scores around a T5; the task is data.

    The tokenizer is taken from the datamodule when training starts and travels in the checkpoint, so any datamodule
    that yields token ids can follow. Batches are those of `TextSeq2SeqDataModule`: `input_ids` [B, S],
    `attention_mask` [B, S], `labels` [B, T], `index` [B], `sources`, `references`, `step_tokens`.

    Args:
        architecture: The network: `T5` with the fields of its `config`.
        optimizer: Any torch optimizer (`class_path` and `init_args`), `ScaledAdamW` for training from scratch; weight
            decay is kept off norms.
        schedule: A schedule of `lightning_modules.schedules`, counted in optimizer steps.
        label_smoothing: Share of the target spread evenly over the vocabulary in training, in [0, 1).
        z_loss: Weight of the squared log of the softmax's denominator in training; 1e-4 keeps long bf16 runs stable.
        scores: What is computed of generated text: `exact_match`, `bleu`, `chrf`, `rouge` (for
            English: letters beyond a to z part words); the progress bar shows the first.
        bleu_tokenizer: How sacreBLEU parts words: `13a`, that of published figures, needs spaces between them; `zh` is
            for Chinese, `char` for other languages without spaces (signature says which).
        max_length: Most tokens of a generated text, its end token included.
        num_beams: Hypotheses that beam search keeps in `test` and `predict`; validation is greedy.
        length_penalty: Power of the length by which beam search divides a sum of log-probabilities.
        no_repeat_ngram_size: In `test` and `predict`, no run of this many tokens stands twice in a text; 0 for any.
        validation_examples: For so many examples, the first of the validation data, text is generated and scored at
            each validation.
        init_from: What to start from: the folder of a published checkpoint (config.json and weights), or a checkpoint
            of this program. Its shape must be that of `architecture`, and `data.tokenizer` its tokenizer.
        compile_network: Whether `torch.compile` compiles encoder and decoder at the first step.
        seed: Seed of dropout, drawn anew for every step from (seed, epoch, step, rank).
    """

    unit = "sentences"  # what progress bars count

    def __init__(
        self,
        architecture: T5,
        # No defaults: see ImageClassifier.
        optimizer: Callable[[Iterable], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        label_smoothing: float = 0.1,
        z_loss: float = 0.0,
        scores: Sequence[ScoreName] = ("exact_match", "bleu", "chrf"),
        bleu_tokenizer: BleuTokenizer = "13a",
        max_length: int = 128,
        num_beams: int = 4,
        length_penalty: float = 1.0,
        no_repeat_ngram_size: int = 0,
        validation_examples: int = 200,
        init_from: str | None = None,
        compile_network: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        for name, value in (("z_loss", z_loss), ("validation_examples", validation_examples)):
            if value < 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if max_length < 1:
            raise ValueError(f"max_length must be at least 1, got {max_length}")
        self.save_hyperparameters()
        self.architecture = architecture
        self.optimizer = optimizer
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.scores = tuple(scores)
        self.bleu_tokenizer = bleu_tokenizer
        self.greedy = {"max_length": max_length + 1}  # generate counts the start token
        self.beams = {
            **self.greedy,
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
        }
        check_search(self.beams)
        self.validation_examples = validation_examples
        self.init_from = init_from
        self.compile_network = compile_network
        self.seed = seed

        self.tokenizer: Tokenizer | None = None
        self.generated: list[GeneratedText] = []
        self.signature: str | None = None
        self.train_sums = EpochSums("nll", "correct", "tokens")
        self.eval_sums = EpochSums("nll", "correct", "tokens")

    # --- before the first step ---------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        if stage == "fit":
            self._take_tokenizer()
            if self.compile_network:  # in place: the state dict keeps its names
                self.architecture.encoder.compile(dynamic=True)
                self.architecture.decoder.compile(dynamic=True)

    def on_fit_start(self) -> None:
        if self.trainer.ckpt_path is not None:
            known = None if self.tokenizer is None else self.tokenizer.to_str()
            self._check_same_tokenizer(known, self.trainer.ckpt_path)
            return
        self.train_sums.reset()  # of a fit that was interrupted
        if self.init_from:
            pieces = load_weights(self.architecture, self.init_from)
            if self.tokenizer is not None and pieces is not None:
                self._check_same_pieces(pieces, self.tokenizer.get_vocab())

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        optimizer = self.optimizer(parameter_groups(self.architecture))
        return with_schedule(optimizer, self.schedule, self.trainer)

    def _take_tokenizer(self) -> None:
        tokenizer = getattr(getattr(self.trainer, "datamodule", None), "tokenizer", None)
        if tokenizer is None:
            raise ValueError("there is no tokenizer: neither a checkpoint nor the datamodule has one")
        tokens, rows = max(tokenizer.get_vocab().values()) + 1, self.architecture.config.vocab_size
        if tokens > rows:
            raise ValueError(
                f"the tokenizer has {tokens} tokens but model.architecture.config.vocab_size is {rows}; "
                f"pass --model.architecture.config.vocab_size {tokens}, or the tokenizer that belongs to "
                "the weights"
            )
        self.tokenizer = tokenizer

    def _check_same_tokenizer(self, known: str | None, checkpoint: Any) -> None:
        """Refuses to go on from a checkpoint with ids that mean other pieces: nothing else would notice."""
        theirs = getattr(getattr(self.trainer, "datamodule", None), "tokenizer", None)
        if theirs is not None and known is not None and theirs.to_str() != known:
            raise ValueError(
                f"the data's tokenizer is not the one of {checkpoint}: "
                "pass --data.tokenizer RUN/tokenizer.json of the run that the checkpoint is from"
            )

    def _check_same_pieces(self, theirs: dict[str, int], mine: dict[str, int]) -> None:
        """Refuses to start from weights whose rows stand for other pieces."""
        other = next((piece for piece, number in theirs.items() if mine.get(piece) != number), None)
        if other is not None:
            raise ValueError(
                f"the data's tokenizer is not the one of {self.init_from}: {other!r} is number {theirs[other]} there, "
                f"here {mine.get(other, 'nothing')}; pass --data.tokenizer with the tokenizer.json or spiece.model "
                "that the weights were trained with"
            )

    # --- one batch ---------------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """Logits [B, T, vocab_size] of each token of the targets `labels` [B, T] (-100 for padding)."""
        return self.architecture(input_ids, attention_mask, self.architecture.shift_right(labels))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        reseed(self.seed, self.current_epoch, batch_idx, self.global_rank)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        sums = self.architecture.loss(
            batch.input_ids, batch.attention_mask, batch.labels, self.label_smoothing, self.z_loss
        )
        self.train_sums.add(sums.nll, sums.correct, sums.tokens)
        self.log("train/loss", sums.nll / sums.tokens, prog_bar=True, logger=False)
        # Lightning takes the mean over ranks and accumulated batches, whose numbers of tokens differ.
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return sums.loss * (parts / batch.step_tokens)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._add_loss(batch)
        if not self.trainer.sanity_checking:  # untrained, it would write until max_length
            # Here and not at the end of the epoch: averaged weights, where there are any, are in place only till then.
            self._write(batch, batch.index < self.validation_examples, self.greedy)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self._add_loss(batch)
        self._write(batch, torch.ones_like(batch.index, dtype=torch.bool), self.beams)

    def predict_step(self, batch: Any, batch_idx: int) -> dict[str, Any]:
        hypotheses, _ = self._generate(batch.input_ids, batch.attention_mask, self.beams)
        return {"index": batch.index, "hypotheses": hypotheses}

    def translate(self, texts: Sequence[str], **search: Any) -> list[str]:
        """What the model writes for each text; "" for a blank one, as `predict` does.

        Args:
            texts: Sources as the model was trained on them: with the task's prefix where it has one.
            **search: Arguments of `generate` other than those of `test`, such as `num_beams=1`; always one result.

        Raises:
            ValueError: The model has no tokenizer yet, or an argument is impossible.
        """
        if self.tokenizer is None:
            raise ValueError("there is no tokenizer before training: use TextSeq2Seq.load_from_checkpoint")
        ids = [torch.tensor(self.tokenizer.encode(text).ids) for text in texts if text.strip()]
        if not ids:
            return [""] * len(texts)
        lengths = torch.tensor([len(each) for each in ids])
        input_ids = pad_sequence(ids, batch_first=True, padding_value=self.architecture.config.pad_token_id)
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        hypotheses, _ = self._generate(input_ids.to(self.device), mask.to(self.device), {**self.beams, **search})
        written = iter(hypotheses)
        return [next(written) if text.strip() else "" for text in texts]

    def _generate(self, input_ids: Tensor, mask: Tensor, search: dict[str, Any]) -> tuple[list[str], list[float]]:
        assert self.tokenizer is not None
        sequences, scores = generate(self.architecture, input_ids, mask, **search)
        config = self.architecture.config
        silent = {config.decoder_start_token_id, config.pad_token_id, config.eos_token_id}
        rows = [[token for token in row if token not in silent] for row in sequences.tolist()]
        # Not skipping special tokens: sentinels are what span corruption writes.
        return self.tokenizer.decode_batch(rows, skip_special_tokens=False), scores.tolist()

    def _add_loss(self, batch: Any) -> None:
        # No smoothing: a loss one can compare between recipes.
        sums = self.architecture.loss(batch.input_ids, batch.attention_mask, batch.labels)
        self.eval_sums.add(sums.nll, sums.correct, sums.tokens)

    def _write(self, batch: Any, chosen: Tensor, search: dict[str, Any]) -> None:
        rows = chosen.nonzero()[:, 0]
        if not len(rows):
            return
        hypotheses, scores = self._generate(batch.input_ids[rows], batch.attention_mask[rows], search)
        places = rows.tolist()
        self.generated += [
            GeneratedText(index, batch.sources[row], tuple(batch.references[row]), hypothesis, score)
            for row, index, hypothesis, score in zip(
                places, batch.index[rows].tolist(), hypotheses, scores, strict=True
            )
        ]

    # --- one epoch ---------------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """The names that validation logs, of which `checkpoint.monitor` must be one."""
        written = names_of(self.scores) if self.validation_examples else []
        return ["val/loss", "val/token_accuracy", *(f"val/{name}" for name in written)]

    def on_train_epoch_end(self) -> None:
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        self.log_dict({**self._token_means("train", self.train_sums), "lr": rate})

    def on_validation_start(self) -> None:
        self._begin_evaluation()

    def on_test_start(self) -> None:
        self._begin_evaluation()

    def on_predict_start(self) -> None:
        if self.tokenizer is None:
            self._take_tokenizer()

    def on_validation_epoch_end(self) -> None:
        self._end_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._end_evaluation("test")

    def _begin_evaluation(self) -> None:
        if self.tokenizer is None:
            self._take_tokenizer()
        self.generated = []
        self.eval_sums.reset()

    def _end_evaluation(self, stage: str) -> None:
        means = self._token_means(stage, self.eval_sums)
        self.log(f"{stage}/loss", means.pop(f"{stage}/loss"), prog_bar=True)
        self.log_dict(means)
        self.generated = sorted(gathered(self.generated))
        if self.generated:
            references = [text.references for text in self.generated]
            hypotheses = [text.hypothesis for text in self.generated]
            scores = score_texts(hypotheses, references, self.scores, self.bleu_tokenizer)
            self.signature = signature(references, self.scores, self.bleu_tokenizer)
            for place, (name, value) in enumerate(scores.items()):
                self.log(f"{stage}/{name}", value, prog_bar=place == 0)

    def _token_means(self, stage: str, sums: EpochSums) -> dict[str, float]:
        total = sums.total(self.trainer.strategy)
        sums.reset()
        tokens = max(1.0, total["tokens"])
        return {f"{stage}/loss": total["nll"] / tokens, f"{stage}/token_accuracy": total["correct"] / tokens}

    # --- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the tokenizer and, in the middle of an epoch, the epoch's sums so far."""
        checkpoint["text_seq2seq"] = {
            "tokenizer": None if self.tokenizer is None else self.tokenizer.to_str(),
            "train_sums": self.train_sums.state_dict(self.trainer.strategy),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["text_seq2seq"]
        self.tokenizer = None if state["tokenizer"] is None else Tokenizer.from_str(state["tokenizer"])
        if self._trainer is not None and self.trainer.state.fn == "fit":  # else no epoch goes on
            self.train_sums.load_state_dict(state["train_sums"], self.global_rank)


def check_search(arguments: dict[str, Any]) -> None:
    """Check decoding options now rather than at the first validation or test.

    Raises:
        ValueError: An option is invalid.
    """
    Search(**arguments)
