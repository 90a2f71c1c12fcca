"""Sets what torch reads when it is imported, before it imports it, as many scripts do."""

import os

os.environ["OMP_NUM_THREADS"] = "2"
os.environ["TORCH_COMPILE_DISABLE"] = "1"

import torch
import torch._dynamo

print("threads, compile disabled:", torch.get_num_threads(), torch._dynamo.config.disable)
