import subprocess
import sys

import torch

from crossfield.eager import eager


@eager
def distinct(ids: torch.Tensor) -> torch.Tensor:
    return torch.unique(ids)


def test_compiled_callers_call_it_as_it_is() -> None:
    graphs = []

    def keep(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    def caller(x: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return (x * 2 + 1).sum() + distinct(ids).sum() * 3

    compiled = torch.compile(caller, backend=keep)
    for most in (3, 9):
        ids, x = torch.arange(20) % most, torch.randn(4)
        torch.testing.assert_close(compiled(x, ids), caller(x, ids))
    assert len(graphs) >= 2
    assert not any("unique" in str(node.target) for graph in graphs for node in graph.graph.nodes)


def test_training_does_not_import_the_compiler() -> None:
    code = """
import sys, torch, crossfield.train
from crossfield.acceleration import settled
from crossfield.optim import OptimConfig, build_optimizers
weight = torch.nn.Linear(2, 1)
for name in ("adam", "lazy_adam", "rowwise_adagrad", "adagrad"):
    optimizers = build_optimizers(weight, OptimConfig(optimizer=name))
    with settled(torch.device("cpu")):
        optimizers.zero_grad()
        weight(torch.ones(1, 2)).sum().backward()
        optimizers.step()
    optimizers.load_state_dict(optimizers.state_dict())
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
