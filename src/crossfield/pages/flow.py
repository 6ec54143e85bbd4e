"""The data flow of a model as a graph: boxes for its main modules, small signs between them, shapes on the arrows."""

import inspect
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn

from crossfield.layers.embedding import EmbeddingArena
from crossfield.pages.trace import NUM_ROWS, Call, Op, Trace, is_activation

Kind = Literal["input", "tables", "map", "interaction", "sign", "port", "output"]
MOST_NODES = 24
"""Modules are opened, outer ones first, as long as a picture has no more boxes and signs than this."""
SIGNS = {"add": "+", "sub": "−", "rsub": "−", "mul": "⊙", "div": "÷", "sum": "Σ", "cat": "concat", "sigmoid": "σ"}
SIGNS |= {
    "mm": "matmul",
    "bmm": "matmul",
    "addmm": "matmul",
    "mv": "matmul",
    "_softmax": "softmax",
    "relu": "ReLU",
    "gelu": "GELU",
}
SIGNS |= {"pow": "square", "index": "look up", "index_select": "look up"}
_JOINS = {"cat", "stack"}
_LOOK_UPS = {"index", "index_select", "gather", "embedding"}
_MERGED = {"+", "⊙"}
_SUMMARY_ENDS = r",? ?\[(?:[A-Z]|\.{3})[,\]]|\. |; (?![^\[]*\])| \((?=[A-Z][a-z]+ et al|section|equation)"


@dataclass(eq=False)
class Node:
    """A box, a sign, a port or an end of a flow.

    name: the attribute it is, or the sign. what: its class, or the columns of an input. about: what it does. gives:
    the shapes that come out. flops: of one example. inner: what is inside, where the box is open.
    """

    kind: Kind
    name: str
    what: str = ""
    about: str = ""
    gives: tuple[str, ...] = ()
    parameters: int = 0
    flops: int = 0
    inner: "Flow | None" = None


@dataclass(frozen=True)
class Edge:
    """An arrow. start: the shape as it leaves, end: as it is taken in. ports: the ways into and out of open boxes."""

    source: Node
    target: Node
    start: str
    end: str
    source_port: Node | None = None
    target_port: Node | None = None


@dataclass(eq=False, repr=False)
class Flow:
    """Nodes in the order of the forward pass, and the arrows between them."""

    nodes: list[Node] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def nested_flow(trace: Trace, columns: Mapping[str, str]) -> Flow:
    """The flow of a traced model; an open box holds its inside as a flow of its own. columns: of each input."""
    _open(trace.root)
    return _Level(trace, trace.root, columns).finish()


def flat_flow(trace: Trace, columns: Mapping[str, str]) -> Flow:
    """The same flow with everything on one level."""
    _open(trace.root)
    return _Level(trace, trace.root, columns, is_flat=True).finish()


def _open(root: Call) -> None:
    """Open calls, outer ones first, while the picture has room; of siblings that are built alike only the first."""
    waiting = [root]
    while waiting:
        call = waiting.pop(0)
        call.is_open = True
        if call is not root and _num_nodes(root) > MOST_NODES:
            call.is_open = False
            continue
        first: dict[type, Call] = {}
        for child in _boxes(call):
            model = first.setdefault(type(child.what), child)
            has_more = any(_boxes(child)) and _num_nodes(child, opened=True) > 1
            is_numbered = child.name.rpartition(".")[2].isdigit()
            is_like = model is not child and model.build == child.build and (has_more or is_numbered)
            child.like = model.name if is_like else ""
            waiting += [child] if model is child and has_more and not child.is_brick else []


def _boxes(call: Call) -> Iterator[Call]:
    """The calls inside that get a box of their own."""
    return (child for child in call.children if not child.is_silent)


def _num_nodes(call: Call, *, opened: bool = False) -> int:
    if not (call.is_open or opened):
        return 1
    num_signs = sum(op.call is call and (not op.is_move or op.name in _JOINS) for op in call.every_op)
    return num_signs + sum(map(_num_nodes, _boxes(call)))


def shape_text(tensor: Tensor) -> str:
    """A shape with B for the examples: ``[B, 9, 8]``."""
    return f"[{', '.join(map(_dim_text, tensor.shape))}]"


def _dim_text(size: int) -> str:
    times, rest = divmod(size, NUM_ROWS)
    if rest or not times:
        return str(size)
    return "B" if times == 1 else f"{times} B"


def _is_folded(shape: str) -> bool:
    return " B" in shape


@dataclass(frozen=True)
class _Start:
    """Where a tensor comes from on one level: a node, the shape it left with, the way out where the box is open."""

    node: Node
    shape: str
    port: Node | None = None


class _Level:
    """Builds the flow inside one call; what comes from outside, and what goes there, passes ports."""

    def __init__(self, trace: Trace, call: Call, columns: Mapping[str, str], *, is_flat: bool = False) -> None:
        self.trace, self.call, self.columns, self.is_flat = trace, call, columns, is_flat
        self.is_root = call is trace.root
        self.graph = Flow()
        self.made: dict[object, Node] = {}
        """Nodes by what they stand for: a call, an operation, the id of a tensor that comes in or goes out."""
        self.levels: dict[Call, _Level] = {}
        self.inside = {op.number for op in call.every_op}
        for op in call.every_op:
            self._add(op)

    def finish(self) -> Flow:
        """The whole flow, ended and tidied up."""
        if self.is_root:
            self._exit(self.trace.logits, Node("output", "logits", gives=(shape_text(self.trace.logits),)))
        for level in self.levels.values():
            level.finish()
        _merge(self.graph)
        self.graph.edges = _counted(self.graph.edges)
        for node in self.graph.nodes:
            node.gives = node.gives or tuple(
                dict.fromkeys(edge.start for edge in self.graph.edges if edge.source is node)
            )
        return self.graph

    def _add(self, op: Op) -> None:
        item = self._item(op)
        if item in self.made:
            return
        if isinstance(item, Call):
            self._add_box(item)
        elif not self._passes(op):
            node = Node("sign", self._sign(op), flops=self.trace.flops[op.number])
            for tensor in {id(one): one for one in op.inputs}.values():
                self._connect(tensor, node)
            self.made[op] = node
            self.graph.nodes.append(node)

    def _item(self, op: Op) -> Call | Op:
        """What stands for an operation on this level: a box, or the operation itself."""
        path = [one for one in op.call.path if not one.is_silent]
        path = path[path.index(self.call) + 1 :]
        if self.is_flat:
            path = [one for one in path if not one.is_open]
        return path[0] if path else op

    def _passes(self, op: Op) -> bool:
        """Whether an operation leaves what it is given as it is, but for the shape, or has nothing from the batch."""
        given = [bool(self._starts(one)) for one in op.inputs]
        if op.name in _JOINS:
            return sum(given) < 2
        is_look_up = op.name in _LOOK_UPS and not given[0]
        return not any(given) or (op.is_move and not is_look_up)

    def _starts(self, tensor: Tensor) -> list[_Start]:
        """Where a tensor comes from; nothing for parameters and what is made of them alone."""
        op = self.trace.makers.get(id(tensor))
        if op is None:
            return self._from_outside(tensor) if id(tensor) in self.trace.input_names else []
        if op.number not in self.inside:
            return self._from_outside(tensor)
        item = self._item(op)
        if isinstance(item, Call):
            level = self.levels.get(item)
            port = level.exit_of(tensor) if level is not None else None
            return [_Start(self.made[item], shape_text(tensor), port)]
        if op in self.made:
            return [_Start(self.made[op], shape_text(tensor))]
        return [start for one in op.inputs for start in self._starts(one)]

    def _from_outside(self, tensor: Tensor) -> list[_Start]:
        if id(tensor) not in self.made:
            name = self.trace.input_names.get(id(tensor), "") if self.is_root else ""
            node = Node("input" if self.is_root else "port", name, self.columns.get(name, ""))
            self.made[id(tensor)] = node
            self.graph.nodes.append(node)
        return [_Start(self.made[id(tensor)], shape_text(tensor))]

    def _connect(self, tensor: Tensor, target: Node, port: Node | None = None) -> None:
        for start in self._starts(tensor):
            end = self._shape(tensor)
            left = end if _is_folded(start.shape) else start.shape
            self.graph.edges.append(Edge(start.node, target, left, end, start.port, port))

    def _shape(self, tensor: Tensor) -> str:
        """A shape as the code has it, where the product of matrices has folded an axis into the examples."""
        text, op = shape_text(tensor), self.trace.makers.get(id(tensor))
        if _is_folded(text) and op is not None and op.is_move and op.inputs:
            return self._shape(op.inputs[0])
        return text

    def exit_of(self, tensor: Tensor) -> Node:
        """The port that a tensor made inside leaves by."""
        if id(tensor) not in self.made:
            self.made[id(tensor)] = self._exit(tensor, Node("port", ""))
        return self.made[id(tensor)]

    def _exit(self, tensor: Tensor, node: Node) -> Node:
        self._connect(tensor, node)
        self.graph.nodes.append(node)
        return node

    def _add_box(self, call: Call) -> None:
        node = _box(call, self.trace, is_flat=self.is_flat)
        self.made[call] = node
        ports: Mapping[object, Node] = {}
        if call.is_open:
            self.levels[call] = level = _Level(self.trace, call, self.columns)
            node.inner, ports = level.graph, level.made
        for tensor in call.given:
            self._connect(tensor, node, ports.get(id(tensor)))
        self.graph.nodes.append(node)

    def _sign(self, op: Op) -> str:
        sign = SIGNS.get(op.name, op.name)
        if op.scalar is not None:
            return f"{'×' if op.name == 'mul' else sign} {op.scalar:g}"
        names = [self.trace.parameter_names[id(one)] for one in op.inputs if id(one) in self.trace.parameter_names]
        return " ".join([sign, *names])


def _counted(edges: Iterable[Edge]) -> list[Edge]:
    """Arrows that are alike as one, which says how many they are."""
    return [one if times == 1 else replace(one, end=f"{times} × {one.end}") for one, times in Counter(edges).items()]


def _merge(graph: Flow) -> None:
    """Make one sign of a sum, or product, of more than two."""
    for node in list(graph.nodes):
        ways = [edge for edge in graph.edges if edge.source is node]
        sign, *names = node.name.split(" ")
        if node.kind != "sign" or sign not in _MERGED or len(ways) != 1:
            continue
        target = ways[0].target
        if target.kind == "sign" and target.name.split(" ")[0] == sign:
            target.name = " ".join([target.name, *names])
            target.flops += node.flops
            graph.nodes.remove(node)
            graph.edges.remove(ways[0])
            graph.edges = [replace(one, target=target) if one.target is node else one for one in graph.edges]


def _box(call: Call, trace: Trace, *, is_flat: bool) -> Node:
    flops = sum(trace.flops[op.number] for op in call.every_op)
    if is_activation(call.what) and not trace.parameters[call]:
        return Node("sign", type(call.what).__name__, flops=flops)
    what = "" if type(call.what) is nn.Sequential or not isinstance(call.what, nn.Module) else type(call.what).__name__
    if is_flat:
        name = ".".join(one.name for one in call.path[1:])
    else:
        name, what = (what, "") if call.name.isdigit() else (call.name, what)
    what = "" if what.lower() == name else what
    return Node(_kind(call), name, what, _about(call), parameters=trace.parameters[call], flops=flops)


def _kind(call: Call) -> Kind:
    if call.widths is not None:
        return "map"
    return "tables" if _arenas(call) and call.is_brick else "interaction"


def _arenas(call: Call) -> list[EmbeddingArena]:
    modules = call.what.modules() if isinstance(call.what, nn.Module) else []
    return [one for one in modules if isinstance(one, EmbeddingArena)]


def _about(call: Call) -> str:
    if call.widths is not None:
        return " → ".join(map(str, call.widths))
    if _kind(call) == "tables":
        arenas = _arenas(call)
        num_tables, num_rows = sum(len(one.num_rows) for one in arenas), sum(sum(one.num_rows) for one in arenas)
        widths = " and ".join(dict.fromkeys(str(one.dim) for one in arenas))
        return f"{num_tables} tables, {num_rows:,} rows of {widths}"
    if call.like and isinstance(call.what, nn.Module):
        return f"built like {'the first' if call.like.isdigit() else call.like}"
    return "" if isinstance(call.what, nn.Sequential) else summary(call.what)


def summary(what: object) -> str:
    """What a layer's docstring says before it comes to shapes, sources and conditions."""
    if isinstance(what, nn.Module) and type(what).__module__.startswith("torch."):
        return ""
    text = (inspect.getdoc(what) or "").split("\n\n")[0].replace("\n", " ").replace("``", "")
    return re.split(_SUMMARY_ENDS, text)[0].rstrip(".,: ")
