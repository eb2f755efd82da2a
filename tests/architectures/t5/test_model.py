"""Tests of T5 against transformers' (logits, loss, gradients), and of what no model may do, such as look ahead."""

import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from architectures.t5.config import T5Config
from architectures.t5.dropout import Dropout
from architectures.t5.hf_weights import published_name
from architectures.t5.model import T5
from benchmarks.transformers_t5 import make_pair_as_theirs_begins
from tests.architectures.t5.oracle import CONFIGS, SMALL, make_pair, random_batch, random_config
from tests.close import assert_close

configs = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@configs
@pytest.mark.parametrize("padded", ["no", "right", "left", "both sides"])
@torch.no_grad()
def test_logits_equal_transformers(config: T5Config, padded: str) -> None:
    ours, theirs = make_pair(config)
    batch = random_batch(config.vocab_size)
    source_mask, target_mask = batch["attention_mask"], batch["labels"] != -100
    if padded == "no":
        source_mask, target_mask = torch.ones_like(source_mask), torch.ones_like(target_mask)
    elif padded == "left":
        source_mask, target_mask = source_mask.flip(1), target_mask.flip(1)
    elif padded == "both sides":
        target_mask = target_mask.flip(1)
    inputs = {
        "input_ids": batch["input_ids"],
        "attention_mask": source_mask,
        "decoder_input_ids": ours.shift_right(batch["labels"]),
        "decoder_attention_mask": target_mask,
    }
    real = target_mask.bool()
    assert_close(ours(**inputs)[real], theirs(**inputs).logits[real])


@configs
def test_loss_and_gradients_equal_transformers(config: T5Config) -> None:
    ours, theirs = make_pair(config)
    batch = random_batch(config.vocab_size)
    theirs_loss = theirs(**batch).loss
    theirs_loss.backward()
    sums = ours.loss(**batch)
    ours_loss = sums.loss / sums.tokens
    ours_loss.backward()

    assert_close(ours_loss, theirs_loss)
    assert sums.tokens == (batch["labels"] != -100).sum()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in ours.parameters())
    assert_gradients_equal(ours, theirs)


def assert_gradients_equal(ours: T5, theirs: nn.Module) -> None:
    their_gradients = {name: weight.grad for name, weight in theirs.named_parameters()}
    for name, weight in ours.named_parameters():
        expected = their_gradients[published_name(name)]
        assert weight.grad is not None and expected is not None
        assert (weight.grad - expected).norm() <= 1e-4 * expected.norm(), name


@pytest.mark.parametrize(
    "config",
    [random_config(seed) for seed in range(30)] + [random_config(seed, widths=(256, 512)) for seed in range(4)],
    ids=lambda config: f"{config.d_model}-{config.feed_forward_proj}",
)
def test_random_shapes_equal_transformers(config: T5Config) -> None:
    """Compare models whose logits reach hundreds, too: there, a single operation in another order may be visible."""
    seed = config.vocab_size
    torch.manual_seed(seed)
    ours, theirs = make_pair_as_theirs_begins(config)
    batch = random_batch(config.vocab_size, batch=3, source=2 + seed % 39, target=2 + seed % 36, seed=seed)
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")} | {
        "decoder_input_ids": ours.shift_right(batch["labels"])
    }
    expected = theirs(**batch)
    assert_close(ours(**inputs), expected.logits)
    with torch.no_grad():  # attention then uses another kernel
        assert_close(ours(**inputs), theirs(**inputs).logits)

    expected.loss.backward()
    sums = ours.loss(**batch)
    (sums.loss / sums.tokens).backward()
    assert_gradients_equal(ours, theirs)


@configs
@torch.no_grad()
def test_float64_equals_transformers(config: T5Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The differences in float32 are due to rounding: in float64 there must be none."""
    from transformers.models.t5.modeling_t5 import T5LayerNorm

    def norm_in_float64(self: T5LayerNorm, x: Tensor) -> Tensor:  # theirs computes the mean in float32
        return self.weight * x / (x.square().mean(-1, keepdim=True) + self.variance_epsilon).sqrt()

    monkeypatch.setattr(T5LayerNorm, "forward", norm_in_float64)
    ours, theirs = (model.double() for model in make_pair(config))
    batch = random_batch(config.vocab_size)
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")} | {
        "decoder_input_ids": ours.shift_right(batch["labels"])
    }
    assert_close(ours(**inputs), theirs(**inputs).logits)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("name", ["tied", "untied-gated"])
def test_compiled_equals_eager_and_transformers(name: str) -> None:
    model, theirs = make_pair(CONFIGS[name])
    batch = random_batch(40)
    expected = model.loss(**batch).loss
    expected.backward()
    gradients = [weight.grad for weight in model.parameters()]
    model.zero_grad()
    sums = torch.compile(model.loss)(**batch)
    sums.loss.backward()
    assert_close(sums.loss / sums.tokens, theirs(**batch).loss)
    torch.testing.assert_close(sums.loss, expected, rtol=1e-5, atol=0)
    for weight, gradient in zip(model.parameters(), gradients, strict=True):
        assert weight.grad is not None and gradient is not None
        assert (weight.grad - gradient).norm() <= 1e-4 * gradient.norm()


@configs
@torch.no_grad()
def test_bfloat16_is_as_accurate_as_transformers(config: T5Config) -> None:
    ours, theirs = make_pair(config)
    batch = random_batch(config.vocab_size, batch=16)
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")} | {
        "decoder_input_ids": ours.shift_right(batch["labels"])
    }
    exact = ours(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ours(**inputs)
    rounded, theirs_rounded = ours.bfloat16()(**inputs), theirs.bfloat16()(**inputs).logits
    assert mixed.dtype == rounded.dtype == torch.bfloat16
    theirs_error = (theirs_rounded - exact).square().mean()
    assert (rounded - exact).square().mean() <= 1.5 * theirs_error
    assert (mixed - exact).square().mean() <= 1.5 * theirs_error


@configs
def test_bfloat16_gradients_are_as_accurate_as_transformers(config: T5Config) -> None:
    ours, theirs = make_pair(config)
    batch = random_batch(config.vocab_size, batch=16)

    def gradients(model: nn.Module, bfloat16: bool) -> Tensor:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            sums = ours.loss(**batch)
            loss = theirs(**batch).loss if model is theirs else sums.loss / sums.tokens
        loss.backward()
        return torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])

    our_error = (gradients(ours, True) - gradients(ours, False)).norm()
    their_error = (gradients(theirs, True) - gradients(theirs, False)).norm()
    assert 0 < our_error <= 1.5 * their_error


@pytest.mark.parametrize("half", [True, False], ids=["half", "autocast"])
def test_float16_is_rejected(half: bool) -> None:
    model = T5(CONFIGS["tied"])
    ids = torch.ones(1, 2, dtype=torch.long)
    with pytest.raises(ValueError, match="float16"), torch.autocast("cpu", torch.float16, enabled=not half):
        (model.half() if half else model)(ids, ids, ids)


@pytest.mark.parametrize("padding", ["none", "source", "target", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fully_padded_rows_are_finite_and_causal(padding: str, dtype: torch.dtype) -> None:
    """The gradient of a logit with respect to later inputs must be exactly zero, even among padding."""
    model, _ = make_pair(CONFIGS["tied"])
    embedded: list[Tensor] = []
    model.to(dtype).embedding.register_forward_hook(lambda *args: embedded.append(args[-1]))
    batch = random_batch(40)
    source_mask, target_mask = batch["attention_mask"], (batch["labels"] != -100).flip(1)  # padding comes first
    row = 2
    source_mask[row] = padding not in ("source", "both")
    target_mask[row] = padding not in ("target", "both")
    logits = model(batch["input_ids"], source_mask, model.shift_right(batch["labels"]), target_mask)
    assert logits.isfinite().all()
    for t in range(logits.shape[1]):
        (gradient,) = torch.autograd.grad(logits[:, t].square().sum(), embedded[-1], retain_graph=True)
        assert (gradient[:, t + 1 :] == 0).all()
        assert (gradient[:, t] != 0).any()
    logits.square().sum().backward()
    for weight in model.parameters():
        assert weight.grad is not None and weight.grad.isfinite().all()


def test_padding_has_no_influence() -> None:
    model, _ = make_pair(CONFIGS["tied"])
    embedded: list[Tensor] = []
    model.embedding.register_forward_hook(lambda *args: embedded.append(args[-1]))
    batch = random_batch(40)
    source_mask, target_mask = batch["attention_mask"].bool(), (batch["labels"] != -100).flip(1)
    logits = model(batch["input_ids"], source_mask, model.shift_right(batch["labels"]), target_mask)
    source_gradient, target_gradient = torch.autograd.grad(logits[target_mask].square().sum(), embedded)
    assert (source_gradient[~source_mask] == 0).all() and (source_gradient[source_mask] != 0).any()
    assert (target_gradient[~target_mask] == 0).all() and (target_gradient[target_mask] != 0).any()


def test_loss_of_an_untrained_model_is_that_of_guessing() -> None:
    """The loss must be about log(V): half a nat above, since the logits have variance 1.

    With a standard deviation of 1 in the output layer it would be near 110. Models with tied weights start higher, ours
    as well as transformers', because their best guess is the decoder's input, which is still in the residual stream.
    """
    torch.manual_seed(0)
    model = T5(T5Config.preset("t5-tiny", num_layers=1, vocab_size=1000, tie_word_embeddings=False)).eval()
    batch = random_batch(1000, batch=16)
    with torch.no_grad():
        sums = model.loss(**batch)
    assert math.log(1000) <= sums.loss / sums.tokens <= math.log(1000) + 1


def test_initial_weights_have_the_spread_of_transformers() -> None:
    import transformers

    torch.manual_seed(0)
    config = T5Config(**SMALL | {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 1, "initializer_factor": 0.5})
    ours = {published_name(name): weight for name, weight in T5(config).state_dict().items()}
    fields = {k: v for k, v in vars(config).items() if k not in ("scale_decoder_outputs", "num_decoder_layers")}
    theirs = transformers.T5ForConditionalGeneration(transformers.T5Config(**fields)).state_dict()
    for name, weight in ours.items():
        if "relative" in name:  # only 32 values: compare with the definition
            assert abs(weight.std() / (0.5 * 128**-0.5) - 1) < 0.4
        elif weight.ndim == 1:
            assert torch.equal(weight, theirs[name])
        else:
            assert abs(weight.std() / theirs[name].std() - 1) < 0.05, name


class TestDropout:
    @pytest.mark.parametrize("name", ["tied", "untied-gated"])
    def test_is_where_transformers_has_it_and_at_the_same_rate(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With torch's dropout and equal seeds, losses agree only if all places and their order do."""
        monkeypatch.setattr(Dropout, "_has_own_mask", lambda self, x: False)
        ours, theirs = make_pair(replace(CONFIGS[name], dropout_rate=0.3))
        batch = random_batch(40)
        torch.manual_seed(1)
        expected = theirs.train()(**batch).loss
        torch.manual_seed(1)
        sums = ours.train().loss(**batch)
        assert_close(sums.loss / sums.tokens, expected)
        torch.manual_seed(2)
        assert abs(ours.loss(**batch).loss / sums.tokens - expected) > 1e-3

    @pytest.mark.parametrize("name", ["tied", "untied-gated"])
    def test_on_the_residual_stream_is_where_transformers_has_it_less_the_inner_places(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Dropout, "_has_own_mask", lambda self, x: False)
        ours, theirs = make_pair(replace(CONFIGS[name], dropout_rate=0.3, dropout_places="residual"))
        for path, module in theirs.named_modules():
            if hasattr(module, "dropout") and hasattr(module, "k"):  # attention: the rate of its weights
                module.dropout = 0.0
            elif path.endswith("DenseReluDense"):
                module.dropout.p = 0.0
        batch = random_batch(40)
        torch.manual_seed(1)
        # There a stack's input and output share one module, which is turned off once the input has passed.
        for stack in (theirs.encoder, theirs.decoder):
            stack.final_layer_norm.register_forward_hook(
                lambda norm, inputs, output, stack=stack: setattr(stack.dropout, "p", 0.0)
            )
        expected = theirs.train()(**batch).loss
        torch.manual_seed(1)
        sums = ours.train().loss(**batch)
        assert_close(sums.loss / sums.tokens, expected)
        ours.eval()
        assert abs(ours.loss(**batch).loss / sums.tokens - expected) > 1e-3

    def test_is_off_in_evaluation(self) -> None:
        model, _ = make_pair(replace(CONFIGS["tied"], dropout_rate=0.3))
        batch = random_batch(40)
        assert model.loss(**batch).loss == model.loss(**batch).loss


def test_activation_checkpointing_saves_memory_and_keeps_gradients() -> None:
    config = replace(CONFIGS["untied-gated"], dropout_rate=0.2)
    plain, _ = make_pair(config)
    lean = T5(config, activation_checkpointing=True)
    lean.load_state_dict(plain.state_dict())
    batch = random_batch(40)
    saved_elements = []
    for model in (plain, lean):
        saved = 0

        def count(tensor: Tensor) -> Tensor:
            nonlocal saved
            saved += tensor.numel()
            return tensor

        torch.manual_seed(0)
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = model.train().loss(**batch).loss
        saved_elements.append(saved)
        loss.backward()
    assert saved_elements[1] < 0.6 * saved_elements[0]
    for ours, theirs in zip(lean.parameters(), plain.parameters(), strict=True):
        assert ours.grad is not None and theirs.grad is not None and torch.equal(ours.grad, theirs.grad)


@torch.no_grad()
def test_attention_weights_equal_transformers() -> None:
    import transformers

    config = CONFIGS["decoder-deeper"]
    ours, theirs = make_pair(config)
    assert isinstance(theirs, transformers.T5ForConditionalGeneration)
    theirs.set_attn_implementation("eager")
    batch = random_batch(40)
    inputs = {k: batch[k] for k in ("input_ids", "attention_mask")} | {
        "decoder_input_ids": ours.shift_right(batch["labels"])
    }
    expected = theirs(**inputs, output_attentions=True)
    weights = ours.train().attention_weights(**inputs)
    assert ours.training
    real = batch["attention_mask"].bool()
    for mine, his in zip(weights.encoder, expected.encoder_attentions, strict=True):
        assert_close(mine.transpose(1, 2)[real], his.transpose(1, 2)[real])
    for mine, his in zip(weights.decoder, expected.decoder_attentions, strict=True):
        assert_close(mine, his)
    for mine, his in zip(weights.cross, expected.cross_attentions, strict=True):
        assert_close(mine, his)
    alone = ours.attention_weights(**inputs, cross_only=True)
    assert alone.encoder == alone.decoder == []
    for mine, his in zip(alone.cross, expected.cross_attentions, strict=True):
        assert_close(mine, his)


def test_masks_of_the_wrong_shape_are_named() -> None:
    model = T5(CONFIGS["tied"])
    ids = torch.ones(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"^attention_mask .*\(2, 3\), got \(2, 1\)"):
        model(ids, ids[:, :1], ids)
    with pytest.raises(ValueError, match=r"decoder_attention_mask .*\(2, 3\), got \(2, 2\)"):
        model(ids, ids, ids, ids[:, :2])
