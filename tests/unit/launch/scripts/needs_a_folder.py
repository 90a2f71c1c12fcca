"""Needs a folder for temporary files and a name, as torch and others do at times, and saves."""

import getpass
import tempfile

import torch
import torch._dynamo

import dtj

with tempfile.NamedTemporaryFile() as file:
    print("writes to", file.name, "as", getpass.getuser(), flush=True)
weights = torch.zeros(4, requires_grad=True)
optimizer = torch.optim.SGD([weights])
weights.sum().backward()
optimizer.step()
dtj.report(step=1, total_steps=1)
with dtj.checkpoint_dir(1) as path:
    torch.save(weights, path / "weights.pt")
