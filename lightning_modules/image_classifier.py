"""Trains and scores any network that maps images to classes."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from architectures.base import ImageClassifierNet
from lightning_modules.epoch_sums import EpochSums
from lightning_modules.image_views import tta_views
from lightning_modules.optimizers import parameter_groups
from lightning_modules.pretrained import load_network
from lightning_modules.schedules import with_schedule
from lightning_modules.seeding import reseed

# The images that a network may look at to initialise itself: enough for the covariance of a 12- or 27-pixel patch.
INITIALIZATION_IMAGES = 5000


class ImageClassifier(L.LightningModule):
    """An image classifier: normalisation, loss, optimizer, schedule and metrics around an architecture.

    It knows what it eats: mean and standard deviation, image size and class names are taken from the datamodule
    when training starts and travel in the checkpoint, so any datamodule that yields uint8 images can follow.

    Args:
        architecture: The network, e.g. `ResNet` with `depth: 18`.
        optimizer: Any torch optimizer (`class_path` and `init_args`); weight decay is kept off biases and norms.
        schedule: A schedule of `lightning_modules.schedules`, counted in optimizer steps.
        label_smoothing: Share of the target spread evenly over all classes, in [0, 1).
        tta: Test-time augmentation reported beside the plain figure: `flip` averages each image and its mirror,
            `flip_translate` those and four more views shifted by one pixel; `none` leaves it out.
        channels_last: Whether convolutions run on channels-last memory, which is faster on CPUs and tensor cores.
        compile_network: Whether `torch.compile` compiles the network at its first step.
        init_from: A file of weights to start from: a state dict (`.pt`, `.pth`, `.safetensors`) with the
            architecture's own or torchvision's names, or a checkpoint of this program. The head starts anew where
            the number of classes differs.
        body_lr_scale: Factor on the learning rate of everything but the head, for fine-tuning.
        seed: Seed of dropout and its like, drawn anew for every step from (seed, epoch, step, rank).
    """

    unit = "images"  # what progress bars count
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: ImageClassifierNet,
        # Neither optimizer nor schedule has a default: jsonargparse, told another class, keeps what the default class
        # has of the same name, and AdamW's weight decay would go over to Muon unseen.
        optimizer: Callable[[Iterable], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        label_smoothing: float = 0.0,
        tta: Literal["none", "flip", "flip_translate"] = "flip",
        channels_last: bool = True,
        compile_network: bool = False,
        init_from: str | None = None,
        body_lr_scale: float = 1.0,
        seed: int = 0,
    ):
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
        if body_lr_scale < 0:
            raise ValueError(f"body_lr_scale must not be negative, got {body_lr_scale}")
        self.save_hyperparameters()
        self.architecture = architecture
        self.optimizer = optimizer
        self.schedule = schedule
        self.label_smoothing = label_smoothing
        self.tta = tta
        self.channels_last = channels_last
        self.compile_network = compile_network
        self.init_from = init_from
        self.body_lr_scale = body_lr_scale
        self.seed = seed

        self.register_buffer("mean", torch.full((3,), 0.5))  # of images scaled to [0, 1]
        self.register_buffer("std", torch.full((3,), 0.5))
        self.class_names: list[str] | None = None
        self.input_size: int | None = None

        # torchmetrics wants two classes at least; a net with one class is legal, if dull.
        classes = max(2, architecture.num_classes)
        self.train_sums = EpochSums("loss", "correct", "examples")
        scores: dict[str, Any] = {
            "accuracy": MulticlassAccuracy(classes, average="micro"),
            "calibration_error": MulticlassCalibrationError(classes, n_bins=15),
        }
        if classes >= 10:  # of fewer classes, the five best are most of them
            scores["accuracy_top5"] = MulticlassAccuracy(classes, average="micro", top_k=5)
        self.val_metrics = MetricCollection(scores, prefix="val/", compute_groups=False)
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        self.test_class_accuracy = MulticlassAccuracy(classes, average="none")
        self.test_accuracy_tta = MulticlassAccuracy(classes, average="micro")

    # --- before the first step ---------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        datamodule = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and datamodule is not None:
            self._learn_about(datamodule)
        if self.class_names is not None and len(self.class_names) != self.architecture.num_classes:
            raise ValueError(
                f"the data has {len(self.class_names)} classes but model.architecture.num_classes is "
                f"{self.architecture.num_classes}; pass --model.architecture.num_classes {len(self.class_names)}"
            )
        if self.channels_last:
            self.architecture.to(memory_format=torch.channels_last)
        if self.compile_network:
            self.architecture.compile()  # in place: the state dict keeps its names

    def _learn_about(self, datamodule: Any) -> None:
        """Takes class names, image size and pixel statistics from the datamodule; a resumed run repeats the same."""
        self.class_names = list(datamodule.class_names) if datamodule.class_names else None
        self.input_size = datamodule.input_size
        self.mean.copy_(torch.tensor(datamodule.mean))
        self.std.copy_(torch.tensor(datamodule.std))

    def on_fit_start(self) -> None:
        if self.trainer.ckpt_path is not None:
            return  # the weights come from a checkpoint, and what they once began from may be gone
        self.train_sums.reset()  # of a fit that was interrupted
        if self.init_from:
            if not Path(self.init_from).is_file():
                raise FileNotFoundError(f"init_from: no such file: {self.init_from}")
            load_network(self.architecture, self.init_from)
        elif (datamodule := getattr(self.trainer, "datamodule", None)) is not None:
            images = datamodule.train_set.images
            some = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
            images = images[some[:INITIALIZATION_IMAGES]].to(self.device)
            self.architecture.initialize_from_data(self.normalize(images))

    def configure_optimizers(self) -> dict[str, Any]:  # type: ignore[override]
        groups = parameter_groups(self.architecture, self.architecture.head)
        optimizer = self.optimizer(groups)
        for group in optimizer.param_groups:
            if not group["name"].startswith("head"):
                group["lr"] = group["lr"] * self.body_lr_scale
        return with_schedule(optimizer, self.schedule, self.trainer)

    # --- one batch ---------------------------------------------------------------------------------------------

    def normalize(self, images: Tensor) -> Tensor:
        """Turns pixels in 0..255 (uint8, or float after MixUp) into what the network was trained on."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        pixels = images.to(dtype=torch.float32, memory_format=layout)  # [B, 3, H, W]
        scale, shift = 1 / (255 * self.std), -self.mean / self.std
        return torch.addcmul(shift.view(3, 1, 1), pixels, scale.view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Class scores of raw images.

        Args:
            images: uint8 or float [B, 3, H, W] in 0..255.

        Returns:
            Logits, float [B, num_classes].
        """
        return self.architecture(self.normalize(images))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        reseed(self.seed, self.current_epoch, batch_idx, self.global_rank)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, targets = batch  # targets: int64 [B], or float [B, C] where MixUp or CutMix blended two labels
        logits = self(images)
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        with torch.no_grad():
            labels = targets if targets.ndim == 1 else targets.argmax(1)
            correct = (logits.argmax(1) == labels).sum()
            self.train_sums.add(loss.double() * len(images), correct, len(images))
        self.log("train/loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        return self._evaluate(batch, "val", self.val_metrics)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        outputs = self._evaluate(batch, "test", self.test_metrics)
        images, labels = batch
        self.test_class_accuracy.update(_for_metrics(outputs["probabilities"]), labels)
        if self.tta != "none":
            outputs["probabilities_tta"] = self.predict_with_tta(images)
            self.test_accuracy_tta.update(_for_metrics(outputs["probabilities_tta"]), labels)
        return outputs

    def predict_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> dict[str, Tensor]:
        images, labels, index = batch
        return {"probabilities": self(images).float().softmax(1), "labels": labels, "index": index}

    def predict_with_tta(self, images: Tensor) -> Tensor:
        """Probabilities [B, num_classes] of the mean logits over the views of each image."""
        views = tta_views(images, translate=self.tta == "flip_translate")
        weights, batches = zip(*views, strict=True)
        logits = sum(w * self(view).float() for w, view in zip(weights, batches, strict=True))
        return torch.as_tensor(logits).softmax(1)

    def _evaluate(self, batch: tuple[Tensor, Tensor], stage: str, metrics: MetricCollection) -> dict[str, Tensor]:
        images, labels = batch
        logits = self(images).float()
        loss = F.cross_entropy(logits, labels)  # no smoothing: a loss one can compare between recipes
        probabilities = logits.softmax(1)
        metrics.update(_for_metrics(probabilities), labels)
        self.log(f"{stage}/loss", loss, batch_size=len(images), on_epoch=True, sync_dist=True)
        return {"loss": loss, "probabilities": probabilities, "labels": labels, "images": images}

    def validation_metrics(self) -> list[str]:
        """The names that validation logs, of which `checkpoint.monitor` must be one."""
        return ["val/loss", *map(str, self.val_metrics.keys())]

    def on_validation_start(self) -> None:
        self._check_classes()
        self.val_metrics.reset()  # of a validation that was interrupted

    def on_test_start(self) -> None:
        self._check_classes()

    def _check_classes(self) -> None:
        """Refuses labels that mean other classes than the outputs do: every score would be wrong, and none say so."""
        theirs = getattr(getattr(self.trainer, "datamodule", None), "class_names", None)
        if self.class_names is not None and theirs is not None and list(theirs) != self.class_names:
            raise ValueError(
                f"the data's classes are {_listed(theirs)} but the model was trained on {_listed(self.class_names)}: "
                "test on data of the same classes, or use `predict`"
            )

    # --- one epoch ---------------------------------------------------------------------------------------------

    def on_train_epoch_end(self) -> None:
        sums = self.train_sums.total(self.trainer.strategy)
        examples = max(1, sums["examples"])
        self.log_dict(
            {
                "train/loss": sums["loss"] / examples,
                "train/accuracy": sums["correct"] / examples,
                "lr": self.optimizers().param_groups[0]["lr"],  # type: ignore[union-attr]
            }
        )
        self.train_sums.reset()

    def on_validation_epoch_end(self) -> None:
        scores = self.val_metrics.compute()
        self.val_metrics.reset()
        self.log_dict({k: v for k, v in scores.items() if k != "val/accuracy"})
        self.log("val/accuracy", scores["val/accuracy"], prog_bar=True)

    def on_test_epoch_end(self) -> None:
        scores = self.test_metrics.compute()
        if self.tta != "none":
            scores["test/accuracy_tta"] = self.test_accuracy_tta.compute()
        names = self.class_names or [str(k) for k in range(self.architecture.num_classes)]
        for name, accuracy in zip(names, self.test_class_accuracy.compute(), strict=False):
            scores[f"test/accuracy_{name}"] = accuracy
        for metric in (self.test_metrics, self.test_accuracy_tta, self.test_class_accuracy):
            metric.reset()
        self.log_dict(scores)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the model knows of its input and, in the middle of an epoch, the epoch's sums so far."""
        checkpoint["image_classifier"] = {
            "class_names": self.class_names,
            "input_size": self.input_size,
            "train_sums": self.train_sums.state_dict(self.trainer.strategy),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        state = checkpoint["image_classifier"]
        self.class_names, self.input_size = state["class_names"], state["input_size"]
        if self._trainer is None or self.trainer.state.fn != "fit":
            return  # an evaluation, or a script: no epoch goes on
        if "train_sums" not in state:
            raise ValueError(
                "the checkpoint is of an earlier version of this program and training cannot go on from it: start "
                "another run from its weights with --model.init_from"
            )
        self.train_sums.load_state_dict(state["train_sums"], self.global_rank)


def _for_metrics(probabilities: Tensor) -> Tensor:
    """Probabilities [B, C] with an impossible second class where C is 1: torchmetrics wants two at least."""
    return F.pad(probabilities, (0, 1)) if probabilities.shape[1] == 1 else probabilities


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")
