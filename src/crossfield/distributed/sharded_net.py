"""The dense part of a model sharded over processes: FSDP, or HSDP where there are several replicas."""

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from crossfield.models.base import HasBranches, Model
from crossfield.optim import parameter_groups


def shard_net(model: Model, device: torch.device, mesh: tuple[int, int]) -> None:
    """Shard the dense part along the second side of a mesh, replicate it along the first; tables stay as they are.

    All of it is brought together for each forward and backward pass: what is saved are gradients and moments.
    """
    sides = init_device_mesh(device.type, mesh, mesh_dim_names=("replicate", "shard"))
    net = {id(weight) for weight in parameter_groups(model)["net"] if weight.dim()}
    kept = {weight for weight in model.parameters() if id(weight) not in net}
    sharded = fully_shard(model, mesh=sides, ignored_params=kept)
    assert isinstance(sharded, FSDPModule)
    sharded.set_gradient_divide_factor(1.0)  # losses are means over the global batch already
    sharded.set_force_sum_reduction_for_comms(True)
    if isinstance(model, HasBranches):
        register_fsdp_forward_method(model, "branch_logits")
