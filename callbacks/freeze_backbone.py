"""Fine-tuning in two phases: only the head, then the whole network."""

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import nn

from utils.checks import check_positive_int
from utils.contracts import network_of


class FreezeBackbone(Callback):
    """Callback that trains only the head in the first epochs and the whole network from then on.

    Until then the backbone is as in evaluation: its weights get no gradient and no weight decay, its batch norms use
    their statistics without updating them, and its dropout is off. Whether it is frozen depends only on the epoch, so
    a run resumed in any epoch continues as if never interrupted. The optimizer has all parameters from the start.

    Args:
        until_epoch: Number of epochs, at least 1, in which the backbone is frozen.
    """

    def __init__(self, until_epoch: int) -> None:
        self.until_epoch = check_positive_int("FreezeBackbone.until_epoch", until_epoch)
        self._trainable: set[str] | None = None  # names of the parameters that the network does not freeze itself

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note what can be trained; check that there is a head, and that DDP waits for no gradient of the backbone.

        Raises:
            ValueError: The network names no head, or DDP would wait for the gradients.
        """
        network = network_of(pl_module)
        if not isinstance(getattr(network, "head", None), str):
            raise ValueError(
                f"FreezeBackbone trains only the head, but {type(network).__name__} does not say which layer that is; "
                "remove it from trainer.callbacks"
            )
        strategy = trainer.strategy
        if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
            raise ValueError(
                "FreezeBackbone leaves parameters without gradients, for which trainer.strategy ddp would wait; pass "
                "--trainer.strategy ddp_find_unused_parameters_true"
            )
        self._trainable = {name for name, parameter in network.named_parameters() if parameter.requires_grad}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze the backbone, including when a run resumes within an epoch."""
        self._freeze(network_of(pl_module), trainer.current_epoch < self.until_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze the backbone."""
        self._freeze(network_of(pl_module), trainer.current_epoch < self.until_epoch)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Unfreeze the backbone, so that the module can be trained further."""
        self._freeze(network_of(pl_module), False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Unfreeze the backbone, unless the fit never began."""
        if self._trainable is not None:
            self.on_fit_end(trainer, pl_module)

    def _freeze(self, network: nn.Module, frozen: bool) -> None:
        """Freeze or unfreeze everything but the head."""
        assert self._trainable is not None
        network.train(not frozen)
        heads = [network.get_submodule(str(name)) for name in getattr(network, "head_names", (network.head,))]
        of_heads = {parameter for head in heads for parameter in head.train().parameters()}
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in self._trainable and (not frozen or parameter in of_heads))
