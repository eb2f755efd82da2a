"""The LightningModule that trains and scores T5 on any text-to-text task, and generates text with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, get_args

import torch
from tokenizers import Tokenizer
from torch import Tensor

from architectures.t5.model import T5
from architectures.t5.search import Search
from lightning_modules.compilation import CompileMode, compile_for_fit, compile_mode
from lightning_modules.decoding import DecodePrecision
from lightning_modules.fsdp import FullySharded, is_split, shard
from lightning_modules.language_module import LanguageModule
from lightning_modules.pretrained_t5 import load_weights
from lightning_modules.special_ids import check_special_ids
from lightning_modules.t5_config import complete_t5_config
from lightning_modules.text_generation import Seed
from lightning_modules.text_metrics import BleuTokenizer, ScoreName, names_of, score_names, score_texts, signature
from lightning_modules.translator import SAMPLING, Translator, text_search
from utils.batches import GeneratedText, Hypotheses, Seq2SeqBatch
from utils.checks import check_at_least, check_choice, check_fraction, check_int
from utils.contracts import HasTestSettings, LimitsLength, ProvidesTokens, datamodule_of
from utils.random_streams import torch_generator


class TextSeq2Seq(LanguageModule, Translator, LimitsLength, HasTestSettings):
    """Text-to-text model: loss, optimizer, schedule, generation and scores around a T5; the task is data.

    It takes the tokenizer from the datamodule when training starts and keeps it in its checkpoint, so that it can be
    used with any datamodule that yields a `Seq2SeqBatch` afterwards.

    Args:
        architecture: The network: `T5` with the fields of its `config`.
        label_smoothing: Fraction of the target probability spread evenly over the vocabulary in training, in [0, 1).
        z_loss: Weight of the squared log of the softmax's denominator in training; 1e-4 keeps long bf16 runs stable.
        scores: Scores of generated text: `exact_match`, `bleu`, `chrf`, `rouge` (for English: everything but a to z and
            digits separates words). The progress bar shows the first.
        bleu_tokenizer: How sacreBLEU separates words: `13a`, as in published results, separates punctuation and splits
            at spaces; use `zh` for Chinese and `char` for other languages without spaces. The signature names it.
        max_length: Maximum length of a generated text in tokens, including the end token.
        num_beams: Number of hypotheses that beam search keeps in `test` and `predict`; validation is greedy.
        length_penalty: Power of the length by which beam search divides a sum of log-probabilities: larger values
            favour long texts.
        no_repeat_ngram_size: Size of n-grams of tokens that may occur only once in a text in `test` and `predict`; 0
            allows all repetitions.
        early_stopping: Whether beam search ends once it has `num_beams` complete texts; otherwise it ends once no
            better one can follow.
        min_length: Minimum length of a text in `test` and `predict`, in tokens, including the end token.
        do_sample: Whether `test` and `predict` sample each token instead of searching; `num_beams` must be 1. The
            samples depend only on `seed` and the example's number.
        top_k: Number of most probable tokens to sample from; 0 for all.
        top_p: Total probability, in (0, 1]: sample from the smallest set of most probable tokens that reaches it.
        temperature: Divisor of the log-probabilities in sampling, above 0: below 1, probable tokens become more
            probable.
        num_return_sequences: Number of texts that `predict` writes for each source, with their scores: the best ones
            of a beam search (at most `num_beams`), or independent samples.
        decode_precision: Precision in which text is generated: `bf16` or `fp32`; `auto` is the Trainer's, or fp32 where
            there is none, as in `oneforall translate`. On a CPU with bfloat16 instructions `bf16` is faster, but the
            texts may differ.
        validation_examples: Number of validation examples, the first ones, for which each validation generates and
            scores text.
        init_from: Weights to start from: the folder of a published checkpoint (config.json and weights), or a
            checkpoint of this program. Fields of `architecture.config` that are not given are those of its config, and
            `data.tokenizer` is the tokenizer beside it; others must agree. If null, training starts from scratch.
        compile_network: Mode in which `torch.compile` compiles encoder and decoder in a fit; `reduce-overhead` and
            `max-autotune` also replay CUDA graphs on a GPU, one per size of a batch.
        **training: Arguments of `TrainingModule`.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    unit = "sentences"
    sums: ClassVar[tuple[str, ...]] = ("nll", "correct", "tokens")
    state_key = "text_seq2seq"
    state_types: ClassVar[dict[str, Any]] = {"tokenizer": str | None}

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
        early_stopping: bool = False,
        min_length: int = 0,
        do_sample: bool = False,
        top_k: int = 0,
        top_p: float = 1.0,
        temperature: float = 1.0,
        num_return_sequences: int = 1,
        decode_precision: DecodePrecision = "auto",
        validation_examples: int = 200,
        init_from: str | None = None,
        compile_network: CompileMode | bool = "none",
        **training: Any,
    ):
        super().__init__(**training)
        self.save_hyperparameters()
        self.architecture: T5 = architecture
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)
        self.z_loss = check_at_least("z_loss", z_loss)
        self.scores = score_names(scores)
        check_choice("bleu_tokenizer", bleu_tokenizer, get_args(BleuTokenizer))
        self.bleu_tokenizer: BleuTokenizer = bleu_tokenizer
        self.max_length = max_length
        self.num_return_sequences = num_return_sequences
        self.decoding: dict[str, Any] = {
            "max_length": max_length,
            "num_beams": num_beams,
            "length_penalty": length_penalty,
            "no_repeat_ngram_size": no_repeat_ngram_size,
            "early_stopping": early_stopping,
            "min_length": min_length,
            "do_sample": do_sample,
            "top_k": top_k,
            "top_p": top_p,
            "temperature": temperature,
            "num_return_sequences": num_return_sequences,
        }
        self.search = text_search(**self.decoding)
        self.greedy = text_search(max_length, min_length=0)
        check_choice("decode_precision", decode_precision, get_args(DecodePrecision))
        self.decode_precision: DecodePrecision = decode_precision
        self.validation_examples = check_int("validation_examples", validation_examples)
        self.init_from = init_from
        self.compile_network = compile_mode(compile_network)
        self.tokenizer: Tokenizer | None = None

    # --- before the first step ---------------------------------------------------------------------------------

    @classmethod
    def complete(
        cls, config: dict[str, Any], given: Collection[str], class_names: Callable[[], list[str] | None]
    ) -> dict[str, Any]:
        """Return values for the open fields of a config, as `CompletesConfig` says."""
        return complete_t5_config(config, given)

    def setup(self, stage: str) -> None:
        """Take the tokenizer and compile the network before a fit."""
        super().setup(stage)
        if stage == "fit":
            parts = self.architecture.encoder, self.architecture.decoder
            compile_for_fit(self.compile_network, self.trainer, *parts, dynamic=True)

    def configure_model(self) -> None:
        """Split the weights over the processes if the strategy is one that does.

        Raises:
            ValueError: The network is compiled whole.
        """
        strategy = self._trainer.strategy if self._trainer is not None else None
        network = self.architecture
        if not isinstance(strategy, FullySharded) or is_split(network):
            return
        if self.compile_network != "none":
            raise ValueError(
                f"model.compile_network is {self.compile_network}, but the network is compiled whole, and "
                "trainer.strategy FullySharded splits it; pass --model.compile_network none"
            )
        low_precision = self.trainer.precision == "bf16-mixed"
        mesh = strategy.device_mesh["data_parallel"]
        shard(network, [*network.encoder.blocks, *network.decoder.blocks], mesh, low_precision)

    def has_vocabulary(self) -> bool:
        """Return whether the tokenizer is known."""
        return self.tokenizer is not None

    def take_vocabulary(self) -> None:
        """Take the tokenizer from the datamodule.

        Raises:
            ValueError: The datamodule has none, or it has more tokens than the network, or other ids of special tokens.
        """
        tokenizer = self._data_tokenizer()
        if tokenizer is None:
            raise ValueError("there is no tokenizer: neither a checkpoint nor the datamodule has one")
        tokens, rows = max(tokenizer.get_vocab().values()) + 1, self.architecture.config.vocab_size
        if tokens > rows:
            raise ValueError(
                f"the tokenizer has {tokens} tokens but model.architecture.config.vocab_size is {rows}; "
                f"pass --model.architecture.config.vocab_size {tokens}, or the tokenizer that belongs to the weights"
            )
        check_special_ids(self.architecture.config, tokenizer)
        self.tokenizer = tokenizer

    def _data_tokenizer(self) -> Tokenizer | None:
        datamodule = datamodule_of(self.trainer)
        return datamodule.tokenizer if isinstance(datamodule, ProvidesTokens) else None

    def check_resumed_data(self) -> None:
        """Raise ValueError if the data has another tokenizer than the checkpoint: nothing else would reveal it."""
        theirs = self._data_tokenizer()
        if theirs is not None and self.tokenizer is not None and theirs.to_str() != self.tokenizer.to_str():
            raise ValueError(
                f"the data's tokenizer is not that of {self.trainer.ckpt_path}; "
                "pass --data.tokenizer with the tokenizer.json in the run folder of the checkpoint"
            )

    def initialize_weights(self) -> None:
        """Load the weights of `init_from`, if given.

        Raises:
            ValueError: They were trained with another tokenizer.
        """
        if not self.init_from:
            return
        theirs = load_weights(self.architecture, self.init_from)
        if self.tokenizer is None or theirs is None:
            return
        mine = self.tokenizer.get_vocab()
        other = next((piece for piece, number in theirs.items() if mine.get(piece) != number), None)
        if other is not None:
            raise ValueError(
                f"the data's tokenizer is not that of {self.init_from}: {other!r} has id {theirs[other]} there and "
                f"{mine.get(other, 'none')} here; pass --data.tokenizer with the tokenizer.json or spiece.model that "
                "the weights were trained with"
            )

    # --- one batch ---------------------------------------------------------------------------------------------

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> Tensor:
        """Return the logits [B, T, vocab_size] of all target tokens, given sources and the targets before each.

        Args:
            input_ids: Sources, int64 [B, S].
            attention_mask: True at their tokens, bool [B, S].
            labels: Targets, int64 [B, T], padded with `IGNORED`.
        """
        logits: Tensor = self.architecture(input_ids, attention_mask, self.architecture.shift_right(labels))
        return logits

    def training_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, scaled so that each target token of an optimizer step has the same weight."""
        sums = self.architecture.loss(
            batch.input_ids, batch.attention_mask, batch.labels, self.label_smoothing, self.z_loss
        )
        self.train_sums.add(sums.nll, sums.correct, sums.tokens)
        self.latest = {"train/loss": (sums.nll / sums.tokens).detach()}
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
        """Add a batch to the loss, and generate text for all of it by beam search, or by sampling."""
        self._add_loss(batch)
        best = dataclasses.replace(self.search, num_return_sequences=1)
        self._add_generated(batch, torch.ones_like(batch.index, dtype=torch.bool), best)

    def predict_step(self, batch: Seq2SeqBatch, batch_idx: int) -> Hypotheses:
        """Generate text for a batch by beam search, or by sampling."""
        if not len(batch.index):  # a process has an empty batch where the others have one batch more
            return {"index": batch.index, "hypotheses": [], "n_best": [], "sources": []}
        n_best = self.generate(batch.input_ids, batch.attention_mask, self.search, self._seed(self.search, batch.index))
        hypotheses = [texts[0].text for texts in n_best]
        return {"index": batch.index, "hypotheses": hypotheses, "n_best": n_best, "sources": batch.sources}

    def _seed(self, search: Search, index: Tensor) -> Seed:
        """Return a generator per example: samples depend neither on batches nor on the number of processes."""
        return (
            [torch_generator("samples", self.seed, number) for number in index.tolist()] if search.do_sample else None
        )

    def _add_loss(self, batch: Seq2SeqBatch) -> None:
        """Add the loss of a batch, not smoothed so that it can be compared between recipes."""
        if not len(batch.index):  # a process has an empty batch where the others have one batch more
            return
        sums = self.architecture.loss(batch.input_ids, batch.attention_mask, batch.labels)
        self.eval_sums.add(sums.nll, sums.correct, sums.tokens)

    def _add_generated(self, batch: Seq2SeqBatch, chosen: Tensor, search: Search) -> None:
        """Generate text for the rows of a batch where `chosen`, bool [B], is true.

        Rows of several batches are not combined, though that would be faster: which ones share a process, and hence the
        last digits of their scores, would depend on the number of processes.
        """
        rows = chosen.nonzero()[:, 0]
        if not len(rows):
            return
        index = batch.index[rows]
        texts = self.generate(batch.input_ids[rows], batch.attention_mask[rows], search, self._seed(search, index))
        self.generated += [
            GeneratedText(number, batch.sources[row], tuple(batch.references[row]), *best)
            for row, number, (best,) in zip(rows.tolist(), index.tolist(), texts, strict=True)
        ]

    # --- one evaluation ----------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """Return the names of loss, token accuracy and, if text is generated, of its scores."""
        of_text = names_of(self.scores) if self.validation_examples else []
        return ["val/loss", "val/token_accuracy", *(f"val/{name}" for name in of_text)]

    def test_settings(self) -> dict[str, str | float]:
        """Return the options of decoding; the signature has those of the scores."""
        unused = {"num_return_sequences"} if self.search.do_sample else {"num_return_sequences", *SAMPLING}
        options = {name: value for name, value in self.decoding.items() if name not in unused}
        return {**options, "decode_precision": self.decode_precision}

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        """Return the loss in nats per target token, and the share of tokens that the model finds most likely."""
        tokens = max(1.0, totals["tokens"])
        return {"loss": totals["nll"] / tokens, "token_accuracy": totals["correct"] / tokens}

    def score_generated(self) -> dict[str, float]:
        """Return the scores of the generated texts, and set their signature."""
        references = [text.references for text in self.generated]
        hypotheses = [text.hypothesis for text in self.generated]
        self.signature = signature(references, self.scores, self.bleu_tokenizer)
        return score_texts(hypotheses, references, self.scores, self.bleu_tokenizer)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_state(self) -> dict[str, Any]:
        """Return the tokenizer, as the content of a tokenizer.json."""
        return {"tokenizer": None if self.tokenizer is None else self.tokenizer.to_str()}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore the tokenizer."""
        try:
            self.tokenizer = None if state["tokenizer"] is None else Tokenizer.from_str(state["tokenizer"])
        except Exception as error:  # the library raises a bare one
            raise ValueError(f"the tokenizer in the checkpoint cannot be read: {error}") from error
