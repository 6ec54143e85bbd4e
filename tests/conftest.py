"""Shared by all tests: one thread each, so that results and timings do not depend on the neighbours, and no cache."""

import os

import torch

torch.set_num_threads(1)
os.environ["CROSSFIELD_CACHE"] = "off"
