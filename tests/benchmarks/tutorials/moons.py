"""Learns the two moons, as a tutorial does it: TensorBoard, and a picture of the boundary at the end."""

import matplotlib

matplotlib.use("Agg")

import torch
from matplotlib import pyplot as plt
from sklearn.datasets import make_moons
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.tensorboard import SummaryWriter

torch.manual_seed(0)
points, labels = make_moons(500, noise=0.1, random_state=0)
inputs = torch.tensor(points, dtype=torch.float32)
targets = torch.tensor(labels, dtype=torch.float32).unsqueeze(1)
train_inputs, test_inputs, train_targets, test_targets = train_test_split(
    inputs, targets, test_size=0.4, random_state=0
)

model = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
loss_function = nn.BCEWithLogitsLoss()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
writer = SummaryWriter("runs/moons")
for epoch in range(1, 1001):
    model.train()
    loss = loss_function(model(train_inputs), train_targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

    model.eval()
    with torch.no_grad():
        test_outputs = model(test_inputs)
        test_loss = loss_function(test_outputs, test_targets)
        accuracy = ((test_outputs > 0).float() == test_targets).float().mean()
    writer.add_scalar("Loss/train", loss.item(), epoch)
    writer.add_scalar("Loss/test", test_loss.item(), epoch)
    writer.add_scalar("Accuracy/test", accuracy.item(), epoch)
    if epoch % 50 == 0:
        print(f"epoch {epoch}: train {loss.item():.4f}, test {test_loss.item():.4f}, {accuracy.item():.4f}")
writer.close()
torch.save(model.state_dict(), "moons.pt")

x, y = torch.meshgrid(torch.linspace(-1.5, 2.5, 200), torch.linspace(-1, 1.5, 200), indexing="xy")
with torch.no_grad():
    heights = torch.sigmoid(model(torch.stack((x.flatten(), y.flatten()), 1))).reshape(x.shape)
plt.contourf(x, y, heights, levels=20, cmap="RdBu", alpha=0.6)
plt.scatter(points[:, 0], points[:, 1], c=labels, cmap="RdBu", edgecolors="k", s=15)
plt.savefig("boundary.png")
