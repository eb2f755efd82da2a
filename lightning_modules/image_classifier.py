"""The LightningModule that trains and scores any network that maps images to classes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.optim import Optimizer
from torchmetrics import Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores

from architectures.base import ImageClassifierNet
from lightning_modules.calibration import CalibrationError
from lightning_modules.compilation import CompileMode, compile_for_fit, compile_mode
from lightning_modules.distillation import Teacher, load_teacher
from lightning_modules.epoch_sums import EpochSums
from lightning_modules.image_config import complete_image_config
from lightning_modules.image_data_check import check_number_of_classes, check_outputs, check_same_data, check_same_size
from lightning_modules.image_metrics import image_metrics, with_two_classes
from lightning_modules.optim.parameter_groups import parameter_groups
from lightning_modules.pretrained import load_network
from lightning_modules.temperature import FittedTemperature
from lightning_modules.torchvision_weights import Offline, check_all_start_alike, weights_file
from lightning_modules.training_module import TrainingModule
from lightning_modules.tta import tta_views
from utils.batches import Classified, ImageBatch, ImagePredictionBatch
from utils.checks import check_at_least, check_choice, check_fraction, check_positive, check_probability
from utils.contracts import (
    CLASS_ACCURACY,
    ClassifiesImages,
    HasTestSettings,
    ProvidesImages,
    ProvidesTrainingImages,
    ResizesImages,
    datamodule_of,
)
from utils.devices import widened
from utils.random_streams import torch_generator

INITIALIZATION_IMAGES = 5000
"""Number of images from which a network may initialize itself: enough for the moments of a patch of 12 numbers."""


class ImageClassifier(TrainingModule, ClassifiesImages, HasTestSettings):
    """Image classifier: normalisation, loss, optimizer, schedule and metrics around an architecture.

    It takes mean and standard deviation, image size and class names from the datamodule when training starts and keeps
    them in its checkpoint, so that it can be used with any datamodule that yields uint8 images afterwards. Each
    validation of a fit sets the temperature, which divides the logits of the probabilities that `predict` gives.

    Args:
        architecture: The network, such as `ResNet` with `depth: 18`.
        label_smoothing: Fraction of the target probability spread evenly over all classes, in [0, 1).
        tta: Test-time augmentation, whose accuracy is reported in addition to the plain one: `flip` averages the logits
            of each image and its mirror image, `flip_translate` also those of both shifted by one pixel along the
            diagonal, either way; `none` turns it off.
        channels_last: Whether images are in channels-last memory, which is faster on CPUs and tensor cores.
        compile_network: Mode in which `torch.compile` compiles the network in a fit; `reduce-overhead` and
            `max-autotune` also replay CUDA graphs on a GPU.
        init_from: File of weights to start from: a state dict (`.pt`, `.pth`, `.safetensors`) with the architecture's
            own names or torchvision's, or a checkpoint of this or another program that holds one. An address that
            begins with `https://` is downloaded once, into torch's cache. Prefixes such as `module.` or `model.` are
            dropped. If the number of classes differs, the head starts from scratch. If null, all weights are randomly
            initialized.
        init_offline: What to do if the address of `init_from` cannot be reached: `stop`, or train from `scratch` with
            a warning.
        body_lr_scale: Factor of at least 0 on the learning rate of everything but the head, for fine-tuning.
        teacher: Checkpoint of a trained image classifier whose probabilities the network learns in addition to labels
            (knowledge distillation). It must have the same classes and image size. Only a fit reads it. If null, the
            network learns only the labels.
        teacher_weight: Weight of the teacher in the loss, from 0 to 1; the labels have the remaining weight.
        teacher_temperature: Number above 0 by which the logits of both are divided before the softmax: with a higher
            one, the network learns more of how the teacher ranks the wrong classes.
        **training: Arguments of `TrainingModule`.
    """

    unit = "images"
    sums: ClassVar[tuple[str, ...]] = ("loss", "correct", "examples")
    state_key = "image_classifier"
    state_types: ClassVar[dict[str, Any]] = {
        "class_names": list[str] | None,
        "input_size": int | None,
        "temperature": float,
    }
    state_added: ClassVar[tuple[str, ...]] = ("temperature",)

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: ImageClassifierNet,
        label_smoothing: float = 0.0,
        tta: Literal["none", "flip", "flip_translate"] = "flip",
        channels_last: bool = True,
        compile_network: CompileMode | bool = "none",
        init_from: str | None = None,
        init_offline: Offline = "stop",
        body_lr_scale: float = 1.0,
        teacher: str | None = None,
        teacher_weight: float = 0.9,
        teacher_temperature: float = 4.0,
        **training: Any,
    ):
        super().__init__(**training)
        self.save_hyperparameters()
        self.architecture: ImageClassifierNet = architecture
        self.label_smoothing = check_fraction("label_smoothing", label_smoothing)
        check_choice("tta", tta, ("none", "flip", "flip_translate"))
        check_choice("init_offline", init_offline, get_args(Offline))
        self.tta = tta
        self.channels_last = channels_last
        self.compile_network = compile_mode(compile_network)
        self.init_from = init_from
        self.init_offline: Offline = init_offline
        self.body_lr_scale = check_at_least("body_lr_scale", body_lr_scale)
        self.teacher = teacher
        self.teacher_weight = check_probability("teacher_weight", teacher_weight)
        self.teacher_temperature = check_positive("teacher_temperature", teacher_temperature)
        self._teacher: Teacher | None = None

        self.register_buffer("mean", torch.full((3,), 0.5))  # of images scaled to [0, 1]
        self.register_buffer("std", torch.full((3,), 0.5))
        self.class_names: list[str] | None = None
        self.input_size: int | None = None
        self.temperature = 1.0  # of the last validation

        classes = max(2, architecture.num_classes)  # metrics need two; a single class is legal, if dull
        self.eval_sums = EpochSums("loss", "examples")
        self.val_metrics = image_metrics(classes, prefix="val/")
        self.test_metrics = self.val_metrics.clone(prefix="test/")
        self.test_class_counts = MulticlassStatScores(classes, average="none")
        self.test_accuracy_tta = MulticlassAccuracy(classes, average="micro")
        self.val_temperature = FittedTemperature()
        self.test_scaled_error = CalibrationError()

    # --- before the first step ---------------------------------------------------------------------------------

    @classmethod
    def complete(
        cls, config: dict[str, Any], given: Collection[str], class_names: Callable[[], list[str] | None]
    ) -> dict[str, Any]:
        """Return values for the open fields of a config, as `CompletesConfig` says."""
        return complete_image_config(config, given, class_names)

    def setup(self, stage: str) -> None:
        """Learn about the data before a fit, load the teacher, and lay out and compile the network.

        Raises:
            FileNotFoundError: The teacher does not exist.
            ValueError: The datamodule does not describe its images (`ProvidesImages`), the network has another number
                of classes or of logits or cannot take images of this size, or the teacher does not fit.
        """
        datamodule = datamodule_of(self.trainer)
        if stage == "fit" and datamodule is not None:
            self._learn_about(datamodule)
        check_number_of_classes(self.architecture, self.class_names)
        if stage == "fit" and self.teacher is not None:
            self._teacher = load_teacher(self.teacher, self, self.trainer.strategy.root_device)
        if self.channels_last:
            self.architecture.to(memory_format=torch.channels_last)
        if stage == "fit":  # not dynamic: the only sizes are those of training and validation
            check_outputs(self.architecture, self.input_size)
            sizes: list[int] = datamodule.training_sizes if isinstance(datamodule, ResizesImages) else []
            for size in sizes:
                check_outputs(self.architecture, size, certain=True)
            compile_for_fit(self.compile_network, self.trainer, self.architecture, dynamic=False)

    def _learn_about(self, datamodule: LightningDataModule) -> None:
        """Take class names, image size and pixel statistics from the datamodule."""
        if not isinstance(datamodule, ProvidesImages) or datamodule.mean is None or datamodule.std is None:
            raise ValueError(
                f"{type(datamodule).__name__} must have class_names, input_size, mean and std once it is set up for a "
                "fit: ImageClassifier normalises images with them and keeps them in its checkpoint"
            )
        self.class_names = list(datamodule.class_names) if datamodule.class_names else None
        self.input_size = datamodule.input_size
        self.mean.copy_(torch.tensor(datamodule.mean))
        self.std.copy_(torch.tensor(datamodule.std))

    def initialize_weights(self) -> None:
        """Load the weights of `init_from` or, if it is null, let the network initialize itself from training images."""
        datamodule = datamodule_of(self.trainer)
        weights = weights_file(self.init_from, self.init_offline, self.architecture) if self.init_from else None
        check_all_start_alike(weights is not None)
        if weights is not None:
            load_network(self.architecture, weights)
        elif isinstance(datamodule, ProvidesTrainingImages):
            images = datamodule.train_set.images
            some = torch.randperm(len(images), generator=torch_generator("initialization", self.seed))
            images = images[some[:INITIALIZATION_IMAGES]].to(self.device)
            self.architecture.initialize_from_data(self.normalize(images))

    def build_optimizer(self) -> Optimizer:
        """Return the optimizer, with `body_lr_scale` on the learning rate of everything but the head."""
        optimizer = self.optimizer_of(parameter_groups(self.architecture, *self.architecture.head_names))
        for group in optimizer.param_groups:
            if not group["name"].startswith("head"):
                group["lr"] = group["lr"] * self.body_lr_scale
        return optimizer

    # --- one batch ---------------------------------------------------------------------------------------------

    def normalize(self, images: Tensor) -> Tensor:
        """Return images in 0..255 (uint8, or float after MixUp) with the training data's mean 0 and std 1, float32."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        pixels = images.to(dtype=torch.float32, memory_format=layout)  # [B, 3, H, W]
        scale, shift = 1 / (255 * self.std), -self.mean / self.std
        return torch.addcmul(shift.view(3, 1, 1), pixels, scale.view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of raw images.

        Args:
            images: uint8 or float [B, 3, H, W] in 0..255.

        Returns:
            Logits, float [B, num_classes].
        """
        logits: Tensor = self.architecture(self.normalize(images))
        return logits

    def training_step(self, batch: ImageBatch, batch_idx: int) -> Tensor:
        """Return the loss of a batch, with smoothed labels and, if there is one, the teacher."""
        images, targets = batch  # targets: int64 [B], or float [B, C] where MixUp or CutMix blended two labels
        logits = self(images)
        loss = F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)
        if self._teacher is not None:
            loss = self._teacher.blend(loss, logits, images)
        with torch.no_grad():
            labels = targets if targets.ndim == 1 else targets.argmax(1)
            correct = (logits.argmax(1) == labels).sum()
            self.train_sums.add(widened(loss) * len(images), correct, len(images))
        self.latest = {"train/loss": loss.detach()}
        return self.weigh(loss, batch_idx)

    def validation_step(self, batch: ImageBatch, batch_idx: int) -> Classified | None:
        """Score a batch; None for an empty one."""
        return self._evaluate(batch, self.val_metrics)

    def test_step(self, batch: ImageBatch, batch_idx: int) -> Classified | None:
        """Score a batch, also per class and with test-time augmentation; None for an empty one."""
        outputs = self._evaluate(batch, self.test_metrics)
        if outputs is None:
            return None
        images, labels = batch
        self.test_scaled_error.update(with_two_classes(outputs["probabilities"]), labels)
        self.test_class_counts.update(with_two_classes(outputs["probabilities"]), labels)
        if self.tta != "none":
            outputs["probabilities_tta"] = self.predict_with_tta(images)
            self.test_accuracy_tta.update(with_two_classes(outputs["probabilities_tta"]), labels)
        return outputs

    def predict_step(self, batch: ImagePredictionBatch, batch_idx: int) -> Classified:
        """Return the class probabilities of a batch."""
        images, labels, index = batch
        # A process has an empty batch where the others have one batch more
        logits = self(images) if len(images) else self.mean.new_zeros(0, self.architecture.num_classes)
        return {"probabilities": self.probabilities_of(logits), "labels": labels, "index": index}

    def probabilities_of(self, logits: Tensor) -> Tensor:
        """Return calibrated class probabilities, float32, of logits, both [B, num_classes]."""
        return (logits.float() / self.temperature).softmax(1)

    def predict_with_tta(self, images: Tensor) -> Tensor:
        """Return probabilities [B, num_classes] of the mean logits over the views of each image."""
        views = tta_views(images, translate=self.tta == "flip_translate")
        logits = torch.stack([weight * self(view).float() for weight, view in views]).sum(0)
        return logits.softmax(1)

    def _evaluate(self, batch: ImageBatch, metrics: MetricCollection) -> Classified | None:
        images, labels = batch
        if not len(images):  # a process has an empty batch where the others have one batch more
            return None
        logits = self(images).float()
        loss = F.cross_entropy(logits, labels, reduction="sum")  # not smoothed: it can be compared between recipes
        self.eval_sums.add(loss, len(images))
        metrics.update(with_two_classes(logits.softmax(1)), labels)
        if metrics is self.val_metrics:
            self.val_temperature.update(logits, labels)
        probabilities = self.probabilities_of(logits)
        return {"loss": loss / len(images), "probabilities": probabilities, "labels": labels, "images": images}

    # --- one evaluation ----------------------------------------------------------------------------------------

    def validation_metrics(self) -> list[str]:
        """Return the names of the loss and of the metrics."""
        return ["val/loss", *map(str, self.val_metrics.keys())]

    def on_validation_start(self) -> None:
        """Check the data, and forget a validation that was interrupted."""
        super().on_validation_start()
        self._begin_evaluation()

    def on_test_start(self) -> None:
        """Check the data, and forget a test that was interrupted."""
        self._begin_evaluation()

    def on_predict_start(self) -> None:
        """Check the size of the images."""
        check_same_size(self.trainer, self.architecture, self.input_size)

    def _begin_evaluation(self) -> None:
        check_same_data(self.trainer, self.architecture, self.class_names, self.input_size)
        self._reset_evaluation()

    def _reset_evaluation(self) -> None:
        self.eval_sums.reset()
        for metric in self.children():
            if isinstance(metric, Metric | MetricCollection):
                metric.reset()

    def test_settings(self) -> dict[str, str | float]:
        """Return the views of test-time augmentation, and the temperature."""
        return {"tta": self.tta, "temperature": self.temperature}

    def metrics_of(self, totals: dict[str, float]) -> dict[str, float]:
        """Return mean loss and accuracy."""
        examples = max(1.0, totals["examples"])
        return {"loss": totals["loss"] / examples, "accuracy": totals["correct"] / examples}

    def on_validation_epoch_end(self) -> None:
        """Log the validation's metrics; the progress bar shows the accuracy. In a fit, set the temperature."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.temperature = float(self.val_temperature.compute())
        scores = {"val/loss": self.eval_sums.mean("loss"), **self.val_metrics.compute()}
        self._reset_evaluation()
        self.log_dict({k: v for k, v in scores.items() if k != "val/accuracy"})
        self.log("val/accuracy", scores["val/accuracy"], prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Log the test's metrics, with the accuracy per class: NaN for a class without images, which has none."""
        scores = {"test/loss": self.eval_sums.mean("loss"), **self.test_metrics.compute()}
        scores["test/calibration_error_scaled"] = self.test_scaled_error.compute()
        if self.tta != "none":
            scores["test/accuracy_tta"] = self.test_accuracy_tta.compute()
        names = self.class_names or [str(k) for k in range(self.architecture.num_classes)]
        hits, _, _, _, images = self.test_class_counts.compute().unbind(1)
        for name, accuracy in zip(names, hits / images, strict=False):
            scores[f"test/{CLASS_ACCURACY}{name}"] = accuracy
        self._reset_evaluation()
        self.log_dict(scores)

    # --- checkpoints -------------------------------------------------------------------------------------------

    def checkpoint_state(self) -> dict[str, Any]:
        """Return class names, image size and temperature; the pixel statistics are buffers."""
        return {"class_names": self.class_names, "input_size": self.input_size, "temperature": self.temperature}

    def load_checkpoint_state(self, state: dict[str, Any]) -> None:
        """Restore class names, image size and temperature; raise ValueError if that is not above 0."""
        self.class_names, self.input_size = state["class_names"], state["input_size"]
        self.temperature = check_positive("temperature", state.get("temperature", 1.0))
