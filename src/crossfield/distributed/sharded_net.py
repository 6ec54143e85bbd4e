"""The dense part of a model sharded over processes: FSDP, or HSDP where there are several replicas."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from crossfield.models.base import HasBranches, Model


def shard_net(model: Model, device: torch.device, mesh: tuple[int, int], *, net: Sequence[nn.Parameter]) -> None:
    """Shard the weights ``net`` along the second side of a mesh, replicate them along the first; the others stay.

    All of them are brought together for each forward and backward pass: what is saved are gradients and moments.
    """
    sides = init_device_mesh(device.type, mesh, mesh_dim_names=("replicate", "shard"))
    parted = {id(weight) for weight in net}
    kept = {weight for weight in model.parameters() if id(weight) not in parted}
    sharded = fully_shard(model, mesh=sides, ignored_params=kept)
    assert isinstance(sharded, FSDPModule)
    sharded.set_gradient_divide_factor(1.0)  # losses are means over the global batch already
    sharded.set_force_sum_reduction_for_comms(True)
    if isinstance(model, HasBranches):
        register_fsdp_forward_method(model, "branch_logits")
