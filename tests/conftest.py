"""Shared by all tests: one thread each, so that results and timings do not depend on the neighbours."""

import torch

torch.set_num_threads(1)
