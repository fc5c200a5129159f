"""Learns the digits for five epochs, as a tutorial does it: torchvision, DataLoader, TensorBoard."""

import os

import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from torchvision import datasets, transforms

torch.manual_seed(0)
root = os.environ["MLPKIT_DATA"]
transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
train_loader = DataLoader(datasets.MNIST(root, train=True, transform=transform), batch_size=64, shuffle=True)
test_loader = DataLoader(datasets.MNIST(root, train=False, transform=transform), batch_size=1000)

model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
loss_function = nn.CrossEntropyLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
writer = SummaryWriter("runs/mnist")
for epoch in range(1, 6):
    model.train()
    total = 0.0
    for images, labels in train_loader:
        optimizer.zero_grad()
        loss = loss_function(model(images), labels)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(images)
    train_loss = total / len(train_loader.dataset)

    model.eval()
    total, correct = 0.0, 0
    with torch.no_grad():
        for images, labels in test_loader:
            outputs = model(images)
            total += loss_function(outputs, labels).item() * len(images)
            correct += (outputs.argmax(1) == labels).sum().item()
    rows = len(test_loader.dataset)
    writer.add_scalar("Loss/train", train_loss, epoch)
    writer.add_scalar("Loss/test", total / rows, epoch)
    writer.add_scalar("Accuracy/test", correct / rows, epoch)
    print(f"epoch {epoch}: train {train_loss:.4f}, test {total / rows:.4f}, accuracy {correct / rows:.4f}")
writer.close()
torch.save(model.state_dict(), "mnist.pt")
