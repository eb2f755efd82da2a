"""The LightningModule that trains, scores and runs T5 on any text-to-text task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from architectures.t5.generation import Search, generate
from architectures.t5.model import T5
from lightning_modules.language_module import LanguageModule
from lightning_modules.pretrained_t5 import load_weights
from lightning_modules.text_scores import BleuTokenizer, ScoreName, names_of, score_texts, signature
from utils.batches import GeneratedText, Hypotheses, Seq2SeqBatch
from utils.checks import check_at_least, check_fraction, check_int, check_positive_int
from utils.contracts import ProvidesTokens, UsesTokenizer, datamodule_of


class TextSeq2Seq(LanguageModule, UsesTokenizer):
    """Text in, text out: loss, optimizer, schedule, generation and scores around a T5; the task is data.

    The tokenizer is taken from the datamodule when training starts and travels in the checkpoint, so any datamodule
    that yields a `Seq2SeqBatch` can follow.

    Args:
        architecture: The network: `T5` with the fields of its `config`.
        label_smoothing: Share of the target that is spread evenly over the vocabulary in training, in [0, 1).
        z_loss: Weight of the squared log of the softmax's denominator in training; 1e-4 keeps long bf16 runs stable.
        scores: What is computed of generated text: `exact_match`, `bleu`, `chrf`, `rouge` (for English: letters other
            than a to z separate words); the progress bar shows the first.
        bleu_tokenizer: How sacreBLEU separates words: `13a`, that of published figures, needs spaces between them; `zh`
            is for Chinese, `char` for other languages without spaces (the signature says which).
        max_length: Maximum length of a generated text in tokens, its end token included.
        num_beams: Hypotheses that beam search keeps in `test` and `predict`; validation is greedy.
        length_penalty: Power of the length by which beam search divides a sum of log-probabilities.
        no_repeat_ngram_size: In `test` and `predict`, no sequence of this many tokens occurs twice in a text; 0 allows
            repetition.
        validation_examples: Number of validation examples, the first ones, for which text is generated and scored at
            each validation.
        init_from: What to start from: the folder of a published checkpoint (config.json and weights), or a checkpoint
            of this program. Its shape must be that of `architecture`, and `data.tokenizer` its tokenizer.
        compile_network: Whether `torch.compile` compiles encoder and decoder at the first step.
        **training: Arguments of `TrainingModule`.
    """

    unit = "sentences"
    sums: ClassVar[tuple[str, ...]] = ("nll", "correct", "tokens")
    state_key = "text_seq2seq"

    def __init__(
        self,
        architecture: T5,
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
        **training: Any,
    ):
        super().__init__(**training)
        self.save_hyperparameters()
        self.architecture: T5 = architecture
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)
        self.z_loss = check_at_least("z_loss", z_loss)
        self.scores = tuple(scores)
        self.bleu_tokenizer: BleuTokenizer = bleu_tokenizer
        # `generate` counts the start token.
        self.greedy: dict[str, Any] = {"max_length": check_positive_int("max_length", max_length) + 1}
        self.beams: dict[str, Any] = {
            **self.greedy,
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
        }
        Search(**self.beams)  # refuses impossible options now rather than at the end of the training
        self.validation_examples = check_int("validation_examples", validation_examples)
        self.init_from = init_from
        self.compile_network = compile_network
        self.tokenizer: Tokenizer | None = None

    # --- before the first step ---------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take the tokenizer and compile the network before a fit."""
        super().setup(stage)
        if stage == "fit" and self.compile_network:  # in place: the state dict keeps its names
            self.architecture.encoder.compile(dynamic=True)
            self.architecture.decoder.compile(dynamic=True)

    def has_vocabulary(self) -> bool:
        """See `LanguageModule`."""
        return self.tokenizer is not None

    def take_vocabulary(self) -> None:
        """See `LanguageModule`."""
        tokenizer = self._data_tokenizer()
        if tokenizer is None:
            raise ValueError("there is no tokenizer: neither a checkpoint nor the datamodule has one")
        tokens, rows = max(tokenizer.get_vocab().values()) + 1, self.architecture.config.vocab_size
        if tokens > rows:
            raise ValueError(
                f"the tokenizer has {tokens} tokens but model.architecture.config.vocab_size is {rows}; "
                f"pass --model.architecture.config.vocab_size {tokens}, or the tokenizer that belongs to the weights"
            )
        self.tokenizer = tokenizer

    def _data_tokenizer(self) -> Tokenizer | None:
        datamodule = datamodule_of(self.trainer)
        return datamodule.tokenizer if isinstance(datamodule, ProvidesTokens) else None

    def check_resumed_data(self) -> None:
        """Refuse to resume with ids that mean other pieces: nothing else would notice."""
        theirs = self._data_tokenizer()
        if theirs is not None and self.tokenizer is not None and theirs.to_str() != self.tokenizer.to_str():
            raise ValueError(
                f"the data's tokenizer is not the one of {self.trainer.ckpt_path}: "
                "pass --data.tokenizer RUN/tokenizer.json of the run that the checkpoint is from"
            )

    def initialize_weights(self) -> None:
        """Load the weights of `init_from`, unless their rows stand for other pieces."""
        if not self.init_from:
            return
        theirs = load_weights(self.architecture, self.init_from)
        if self.tokenizer is None or theirs is None:
            return
        mine = self.tokenizer.get_vocab()
        other = next((piece for piece, number in theirs.items() if mine.get(piece) != number), None)
        if other is not None:
            raise ValueError(
                f"the data's tokenizer is not the one of {self.init_from}: {other!r} is number {theirs[other]} there, "
                f"here {mine.get(other, 'nothing')}; pass --data.tokenizer with the tokenizer.json or spiece.model "
                "that the weights were trained with"
            )

    # --- one batch ---------------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """Return logits [B, T, vocab_size] of each token of the targets `labels` [B, T] (`IGNORED` for padding)."""
        logits: Tensor = self.architecture(input_ids, attention_mask, self.architecture.shift_right(labels))
        return logits

    def training_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, scaled so that each target token of an optimizer step has the same weight."""
        sums = self.architecture.loss(
            batch.input_ids, batch.attention_mask, batch.labels, self.label_smoothing, self.z_loss
        )
        self.train_sums.add(sums.nll, sums.correct, sums.tokens)
        self.log("train/loss", sums.nll / sums.tokens, prog_bar=True, logger=False)
        # Lightning takes the mean over ranks and accumulated batches, whose numbers of tokens differ.
        parts = self.trainer.world_size * self.trainer.accumulate_grad_batches
        return sums.loss * (parts / batch.step_tokens)

    def validation_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        """Add a batch to the loss, and generate text for the first examples, greedily."""
        self._add_loss(batch)
        if not self.trainer.sanity_checking:  # an untrained model would generate until max_length
            # Here and not at the end of the epoch: averaged weights, if there are any, are in place only until then.
            self._add_generated(batch, batch.index < self.validation_examples, self.greedy)

    def test_step(self, batch: Seq2SeqBatch, batch_idx: int) -> None:
        """Add a batch to the loss, and generate text for all of it by beam search."""
        self._add_loss(batch)
        self._add_generated(batch, torch.ones_like(batch.index, dtype=torch.bool), self.beams)

    def predict_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Hypotheses:
        """Generate text for a batch by beam search."""
        hypotheses, _ = self._generate(batch.input_ids, batch.attention_mask, self.beams)
        return {"index": batch.index, "hypotheses": hypotheses}

    def translate(self, texts: Sequence[str], **search: Any) -> list[str]:
        """Return what the model generates for each text; "" for a blank one, as `predict` does.

        Args:
            texts: Sources as the model was trained on them: with the task's prefix if it has one.
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
        generated = iter(hypotheses)
        return [next(generated) if text.strip() else "" for text in texts]

    def _generate(self, input_ids: Tensor, mask: Tensor, search: dict[str, Any]) -> tuple[list[str], list[float]]:
        assert self.tokenizer is not None
        sequences, scores = generate(self.architecture, input_ids, mask, **search)
        config = self.architecture.config
        silent = {config.decoder_start_token_id, config.pad_token_id, config.eos_token_id}
        rows = [[token for token in row if token not in silent] for row in sequences.tolist()]
        # Other special tokens stay: sentinels are what span corruption generates.
        return self.tokenizer.decode_batch(rows, skip_special_tokens=False), scores.tolist()

    def _add_loss(self, batch: Seq2SeqBatch) -> None:
        # No smoothing: a loss that can be compared between recipes.
        sums = self.architecture.loss(batch.input_ids, batch.attention_mask, batch.labels)
        self.eval_sums.add(sums.nll, sums.correct, sums.tokens)

    def _add_generated(self, batch: Seq2SeqBatch, chosen: Tensor, search: dict[str, Any]) -> None:
        """Generate text for the rows of a batch where `chosen`, bool [B], is true."""
        rows = chosen.nonzero()[:, 0]
        if not len(rows):
            return
        hypotheses, scores = self._generate(batch.input_ids[rows], batch.attention_mask[rows], search)
        indices = batch.index[rows].tolist()
        self.generated += [
            GeneratedText(index, batch.sources[row], tuple(batch.references[row]), hypothesis, score)
            for row, index, hypothesis, score in zip(rows.tolist(), indices, hypotheses, scores, strict=True)
        ]

    # --- one evaluation ----------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """See `NamesValidationMetrics`."""
        of_text = names_of(self.scores) if self.validation_examples else []
        return ["val/loss", "val/token_accuracy", *(f"val/{name}" for name in of_text)]

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        """Return negative log-likelihood per target token in nats, and the share of tokens that are the likeliest."""
        tokens = max(1.0, totals["tokens"])
        return {"loss": totals["nll"] / tokens, "token_accuracy": totals["correct"] / tokens}

    def on_validation_epoch_end(self) -> None:
        """Score the validation."""
        self._end_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Score the test."""
        self._end_evaluation("test")

    def _end_evaluation(self, stage: str) -> None:
        means = self.mean_metrics(stage, self.eval_sums)
        self.log(f"{stage}/loss", means.pop(f"{stage}/loss"), prog_bar=True)
        self.log_dict(means)
        self.gather_generated()
        if self.generated:
            references = [text.references for text in self.generated]
            hypotheses = [text.hypothesis for text in self.generated]
            scores = score_texts(hypotheses, references, self.scores, self.bleu_tokenizer)
            self.signature = signature(references, self.scores, self.bleu_tokenizer)
            for place, (name, value) in enumerate(scores.items()):
                self.log(f"{stage}/{name}", value, prog_bar=place == 0)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the tokenizer, as the content of a tokenizer.json."""
        return {"tokenizer": None if self.tokenizer is None else self.tokenizer.to_str()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the tokenizer."""
        self.tokenizer = None if state["tokenizer"] is None else Tokenizer.from_str(state["tokenizer"])
