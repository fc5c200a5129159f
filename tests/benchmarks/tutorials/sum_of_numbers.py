"""Learns to add two numbers, as a tutorial does it."""

import torch
from torch import nn

torch.manual_seed(0)
inputs = torch.rand(1000, 2)
targets = inputs.sum(1, keepdim=True)
train_inputs, train_targets = inputs[:600], targets[:600]
test_inputs, test_targets = inputs[800:], targets[800:]

model = nn.Linear(2, 1)
loss_function = nn.MSELoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for epoch in range(1, 501):
    loss = loss_function(model(train_inputs), train_targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if epoch % 50 == 0:
        print(f"epoch {epoch}: loss {loss.item():.6f}")

with torch.no_grad():
    print(f"test loss {loss_function(model(test_inputs), test_targets).item():.6f}")
print(f"weights {model.weight.tolist()}, bias {model.bias.tolist()}")
torch.save(model.state_dict(), "sum.pt")
