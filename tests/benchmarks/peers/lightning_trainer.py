"""Lightning over a TensorDataset and a DataLoader; no logger, checkpoint, progress bar or validation."""

import logging
import warnings
from collections.abc import Callable

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset
from workload import Trained, Workload, load_workload

from peers.torch_parts import loss_of, network, optimizer_of


class Model(lightning.LightningModule):
    """The workload's model."""

    def __init__(self, work: Workload) -> None:
        super().__init__()
        self.work, self.layers, self.loss_function = work, network(work), loss_of(work)

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        inputs, targets = batch
        self.last: torch.Tensor = self.loss_function(self.layers(inputs), targets)
        return self.last

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return optimizer_of(self.work, self)


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    work = load_workload(overrides)
    loader = DataLoader(TensorDataset(work.inputs, work.targets), batch_size=work.batch_size, shuffle=True)
    model = Model(work)
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
    )

    def train() -> Trained:
        trainer.fit_loop.max_epochs += work.epochs
        trainer.fit(model, loader)
        return Trained(work.count, model.last.item())

    return train
