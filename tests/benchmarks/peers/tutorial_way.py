"""The tutorial's way: torchvision's MNIST with transforms for each sample, and a DataLoader."""

import os
from collections.abc import Callable
from itertools import islice

from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from workload import Trained, load_workload

from peers.torch_parts import loss_of, network, optimizer_of

ROWS = 20_000  # at most in a portion: it is slow, and no sample is dearer than another


def prepare(overrides: tuple[str, ...]) -> Callable[[], Trained]:
    """See `peers`."""
    work = load_workload(overrides)
    options = work.config.dataset
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((options.mean,), (options.std,))]
    )
    dataset = datasets.MNIST(os.environ["MLPKIT_DATA"], transform=transform)
    loader = DataLoader(dataset, batch_size=work.batch_size, shuffle=True)
    model, loss_function = network(work), loss_of(work)
    optimizer = optimizer_of(work, model)

    def train() -> Trained:
        count = 0
        for images, labels in islice(loader, ROWS // work.batch_size):
            optimizer.zero_grad()
            loss = loss_function(model(images.reshape(len(images), -1)), labels)
            loss.backward()
            optimizer.step()
            count += len(images)
        return Trained(count, loss.item())

    return train
