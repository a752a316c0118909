"""The dataflow graph in SSA form, and the methods that change it.

A `Value` is an `Input`, a `Parameter`, a `Constant` or a `Result` of a `Node`; it knows all its uses. Every change goes
through the methods of `Graph`, which keep the use-lists right. Ops have no side effects, so only dataflow orders the nodes: a
node runs after those whose results it reads, and after those that make a data-dependent dim that it mentions (`unpack`).
`Graph.nodes` lists them in one canonical order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .analysis import to_networkx
from .determined import dims_made_by, outer_dims
from .dims import Dim, DimLike, Symbol, compare, symbols
from .dtypes import DType
from .errors import GraphError, OpError, RuleError
from .file_formats import render
from .folding import fold
from .inequalities import Inequality, canonical, is_nonnegative
from .journal import Added, Change, Erased, OutputsSet, Rewired
from .location import NOWHERE, Provenance
from .ordering import canonical_order, needed_nodes
from .registry import Attribute, Op
from .rules import Constraint, Constraints, collect_constraints
from .slicing import part, select_part
from .textual import Textual
from .types import TensorType
from .unification import substitute_attribute, unify_shapes
from .values import Callee, Constant, Input, Node, Parameter, Value
from .weights import Weights

if TYPE_CHECKING:
    import networkx

SHOWN_NODES, MOST_SHOWN = 60, 400  # a notebook shows a larger graph folded; and what is large even so, not as a picture


class Graph(Textual, Callee):
    """A typed dataflow graph with named inputs, parameters and outputs.

    `weights` is the table of parameter data; graphs of one model share it.

    `states` are the names of memory that outlives a call (a cache), with its types. A graph that reads one has an input of that
    name, one that writes it an output: to passes and to the reference it is nothing else.

    `journal`, if it is a list, gets every change of nodes and outputs.
    """

    def __init__(self, name: str = "main", weights: Weights | None = None):
        self.name: str = name
        self.inputs: list[Input] = []
        self.states: dict[str, TensorType] = {}
        self.parameters: dict[str, Parameter] = {}
        self.constants: dict[tuple[str, TensorType], Constant] = {}
        self.outputs: list[tuple[str, Value]] = []
        self.constraints: list[Constraint] = []
        self.inequalities: list[Inequality] = []
        self.symbols: dict[str, Symbol] = {}
        self.weights: Weights = Weights() if weights is None else weights
        self._input_names: set[str] = set()  # of `inputs`, if they are as many
        self._nodes: dict[Node, None] = {}
        self._dim_makers: dict[Node, set[str]] = {}  # nodes with data-dependent dims in their results
        self._order: list[Node] | None = None
        self._outer_dims: list[Dim] | None = None
        self.journal: list[Change] | None = None

    # Leaves

    def input(self, name: str, type: TensorType) -> Input:
        """Declare the next input. Raises GraphError if the name is taken."""
        if len(self._input_names) != len(self.inputs):
            self._input_names = {i.name for i in self.inputs}
        if name in self._input_names:
            raise GraphError(f"graph {self.name} has two inputs named {name!r}")
        self._register_symbols(type)
        value = Input(name, type)
        self.inputs.append(value)
        self._input_names.add(name)
        self._outer_dims = None
        return value

    def state(self, name: str, type: TensorType) -> None:
        """Declare memory that outlives a call: the input and the output of that name. Raises GraphError if its type changed."""
        found = self.states.setdefault(name, type.with_shape(type.shape))
        if found.dtype != type.dtype or found.rank != type.rank or any(
            compare(a, b) == "different" for a, b in zip(found.shape, type.shape)
        ):
            raise GraphError(f"state {name!r} is {found} here and {type} there")
        self._register_symbols(type)

    def parameter(self, name: str, type: TensorType) -> Parameter:
        """The parameter of that name, declared on first use. Raises GraphError if its type changed."""
        if name not in self.parameters:
            if any(not isinstance(d, int) for d in type.shape):
                raise GraphError(f"parameter {name!r} has a symbolic shape: {type}")
            self.parameters[name] = Parameter(name, type)
        found = self.parameters[name]
        if found.type != type:
            raise GraphError(f"parameter {name!r} is {found.type} here and {type} there")
        return found

    def constant(self, data: Any, dtype: DType | None = None) -> Constant:
        """The constant with this content, one object for equal contents. `data` is anything NumPy takes; it is copied and frozen.

        Raises RuleError for a finite number that `dtype` cannot hold: -1e9 in f16 would silently be -inf.
        """
        return self._intern(Constant.of(data, dtype))

    def opaque_constant(self, type: TensorType, digest: str) -> Constant:
        """A constant of which only the SHA-256 of its bytes is known: the text was read without its data file."""
        return self._intern(Constant(None, type, digest))

    def _intern(self, constant: Constant) -> Constant:
        found = self.constants.setdefault((constant.digest, constant.type), constant)
        if found.data is None:
            found.data = constant.data
        return found

    # Nodes

    def insert(self, op: Op, operands: Sequence[Value | None], attrs: Mapping[str, Attribute],
               provenance: Provenance = NOWHERE) -> Any:
        """Apply an op to operands in signature order (None: absent). Returns its value, or a tuple of values.

        Raises OpError if the op's type rule forbids it. `Builder` is the comfortable form.
        """
        types = [None if o is None else o.type for o in operands]
        with collect_constraints(self.constraints, self.inequalities) as constraints:
            try:
                complete = op.bind_attributes(attrs)
                if op.canonical is not None:
                    complete.update(op.canonical(types, complete))
                inferred = op.infer(*types, **complete)
                self._check_order(constraints.added_order)
            except RuleError as error:
                raise OpError(op.name, [_type(o) for o in operands], str(error), provenance) from None
            except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
                # The rule met an attribute of a kind, or a number of operands, that it does not look for.
                rule = f"the rule of {op.name} cannot be applied: {error}"
                raise OpError(op.name, [_type(o) for o in operands], rule, provenance) from error
        results = inferred if isinstance(inferred, tuple) else (inferred,)
        self._add_constraints(constraints)
        node = self._attach(Node(op, operands, complete, results, provenance))
        return node.results if isinstance(inferred, tuple) else node.results[0]

    def _attach(self, node: Node) -> Node:
        """Add a new node whose operands are values of this graph."""
        for result in node.results:
            self._register_symbols(result.type)
        self._nodes[node] = None
        if made := dims_made_by(node):
            self._dim_makers[node] = made
        for position, operand in enumerate(node.operands):
            if operand is not None:
                operand.uses[node, position] = None
        self._changed(Added(node, node.operands))
        return node

    def set_operand(self, node: Node, position: int, value: Value | None) -> None:
        """Make a node read another value at one operand position. Raises GraphError if it has no such position."""
        if node not in self or not 0 <= position < len(node.operands):
            raise GraphError(f"{node.op.name} has no operand {position} in graph {self.name}")
        old = node.operands[position]
        if old is not None:
            del old.uses[node, position]
        node.operands = (*node.operands[:position], value, *node.operands[position + 1:])
        if value is not None:
            value.uses[node, position] = None
        self._changed(Rewired(node, position, old, value))

    def replace(self, old: Value, new: Value, *, keep: Iterable[Node] = ()) -> None:
        """Make all users of `old` (but `keep`), and the outputs, read `new`, which must have the same type."""
        if old is new:
            return
        if old.dtype != new.dtype or old.type.rank != new.type.rank or any(
            Constraints(self.constraints).compare(a, b) == "different" for a, b in zip(old.shape, new.shape)
        ):
            raise GraphError(f"cannot replace a value of type {old.type} by one of type {new.type}")
        kept = set(keep)
        for node, position in list(old.uses):
            if node not in kept:
                self.set_operand(node, position, new)
        if self.is_output(old):
            self.outputs = [(name, new if v is old else v) for name, v in self.outputs]
            self._changed(OutputsSet(tuple(self.outputs)))

    def erase(self, node: Node) -> None:
        """Remove a node that nothing reads. Raises GraphError if something does, or if it is not in the graph."""
        if node not in self:
            raise GraphError(f"cannot erase {node.op.name}: it is not in graph {self.name}")
        for result in node.results:
            if result.uses or any(v is result for _, v in self.outputs):
                raise GraphError(f"cannot erase {node.op.name}: its result is still used")
        for position, operand in enumerate(node.operands):
            if operand is not None:
                del operand.uses[node, position]
        del self._nodes[node]
        if made := self._dim_makers.pop(node, None):
            self._release(made)
        self._changed(Erased(node))

    def set_outputs(self, outputs: Iterable[tuple[str, Value]]) -> None:
        """Declare the outputs, in order. Raises GraphError if a name is given twice."""
        self.outputs = list(outputs)
        seen: set[str] = set()
        for name, _ in self.outputs:
            if name in seen:
                raise GraphError(f"graph {self.name} has two outputs named {name!r}")
            seen.add(name)
        self._changed(OutputsSet(tuple(self.outputs)))

    def _changed(self, change: Change) -> None:
        """After each change of nodes and outputs: their order is not known any more, nor what they take from a caller."""
        self._order = self._outer_dims = None
        if self.journal is not None:
            self.journal.append(change)

    def constrain(self, left: DimLike, right: DimLike) -> None:
        """Require left == right at run time. Raises RuleError if they differ for all sizes."""
        verdict = Constraints(self.constraints).compare(left, right)
        if verdict == "different":
            raise RuleError(f"{left} == {right} can never hold")
        if verdict == "unknown":
            self.constraints.append((left, right))

    def require_order(self, left: DimLike, right: DimLike) -> None:
        """Require left >= right at run time. Raises RuleError if that holds for no sizes."""
        verdict = Constraints(self.constraints, self.inequalities).order(left, right)
        if verdict == "never":
            raise RuleError(f"{left} >= {right} can never hold")
        if verdict == "unknown":
            self._add_inequalities([canonical(left, right)])

    def _release(self, dims: set[str]) -> None:
        """Forget what was required of data-dependent dims that no node makes any more: there is nothing to check."""
        left = self.data_dependent_dims.union(s.name for i in self.inputs for d in i.shape for s in symbols(d))
        gone = dims - left
        self.constraints, self.inequalities = ([pair for pair in required if not any(
            s.name in gone for size in pair for s in symbols(size))] for required in (self.constraints, self.inequalities))

    def _add_constraints(self, constraints: Constraints) -> None:
        self.constraints += constraints.added
        self._add_inequalities(constraints.added_order)

    def _add_inequalities(self, added: Iterable[Inequality]) -> None:
        """Add inequalities, and drop older ones that follow from them: S >= 5 from S >= 8."""
        for left, right in added:
            self.inequalities = [(a, b) for a, b in self.inequalities if not is_nonnegative((a - b) - (left - right))]
            self.inequalities.append((left, right))

    def _check_order(self, added: Iterable[Inequality]) -> None:
        """Check that inputs have all dims of new inequalities, so that a call can check them before it runs. Raises RuleError."""
        for left, right in added:
            given = {s.name for i in self.inputs for d in i.shape for s in symbols(d)}
            inner = sorted({s.name for d in (left, right) for s in symbols(d)} - given)
            if inner:
                raise RuleError(f"cannot tell whether {left} >= {right}: no input has the dim {', '.join(inner)}, so no call "
                                "can check it beforehand")

    def prune(self) -> None:
        """Remove parameters and constants that nothing reads."""
        live = {id(v) for _, v in self.outputs}
        self.parameters = {n: p for n, p in self.parameters.items() if p.uses or id(p) in live}
        self.constants = {k: c for k, c in self.constants.items() if c.uses or id(c) in live}

    # Reading

    @property
    def nodes(self) -> list[Node]:
        """All nodes, operands before users, in canonical order: depth first from the outputs, dead ones last."""
        if self._order is None:
            self._order = list(canonical_order(self))
        return list(self._order)

    @property
    def data_dependent_dims(self) -> set[str]:
        """The dims whose sizes nodes compute as they run (`unpack`), those of called functions included."""
        return set().union(*self._dim_makers.values())

    @property
    def outer_dims(self) -> list[Dim]:
        """The dims that a function's nodes mention, and that are its caller's: no operand says them, and no node makes them.

        Known once for all calls, as every caller's order asks for it.
        """
        if self._outer_dims is None:
            self._outer_dims = []  # what calls itself, which `verify` forbids, must not ask for ever
            self._outer_dims = outer_dims((i.type for i in self.inputs), self._nodes)
        return self._outer_dims

    def is_needed(self, node: Node) -> bool:
        """Whether anything reads a result of the node, or mentions a data-dependent dim that it makes: another node does, or
        what the graph requires of its sizes."""
        if any(result.uses or self.is_output(result) for result in node.results):
            return True
        made = self._dim_makers.get(node)
        if not made:
            return False
        required = {s.name for pair in (*self.constraints, *self.inequalities) for d in pair for s in symbols(d)}
        return bool(made & required) or any(node in needed_nodes(self, other) for other in self._nodes if other is not node)

    def __len__(self) -> int:
        return len(self._nodes)

    def __contains__(self, node: object) -> bool:
        return node in self._nodes

    def named_graphs(self) -> Mapping[str, Graph]:
        return {self.name: self}

    def __repr__(self) -> str:
        return f"<graph {self.name}: {len(self)} nodes, {len(self.parameters)} parameters>"

    def is_output(self, value: Value) -> bool:
        """Whether a value is among the outputs."""
        return any(v is value for _, v in self.outputs)

    @property
    def functions(self) -> dict[str, Graph]:
        """The named subgraphs that `call` nodes apply, callees first."""
        found: dict[str, Graph] = {}
        seen: set[int] = set()
        stack = [(self, iter(self._callees()))]
        while stack:  # depth first, each once: callers of callers may double at every step
            graph, callees = stack[-1]
            for callee in callees:
                if id(callee) not in seen:
                    seen.add(id(callee))
                    stack.append((callee, iter(callee._callees())))
                    break
            else:
                stack.pop()
                if stack:
                    found.setdefault(graph.name, graph)
        return found

    def _callees(self) -> list[Graph]:
        """The functions that nodes of this graph apply themselves, in order."""
        called = (node.attrs.get("function") for node in self.nodes)
        return list({id(f): f for f in called if isinstance(f, Graph)}.values())

    @property
    def flops(self) -> DimLike:
        """The floating-point operations of a call, as an expression of the symbolic sizes."""
        total: DimLike = 0
        for node in self._nodes:
            total = total + node.flops
        return total

    def to_networkx(self) -> networkx.DiGraph[Node]:
        """Nodes and their dependences as a networkx DiGraph; edges carry the `value` that flows."""
        return to_networkx(self)

    # Copies

    def copy(self, name: str | None = None) -> Graph:
        """A separate graph with the same content; the weights are shared."""
        new = Graph(name or self.name, self.weights)
        new.constraints, new.inequalities = list(self.constraints), list(self.inequalities)
        new.symbols, new.states = dict(self.symbols), dict(self.states)
        mapping: dict[Value, Value] = {i: new.input(i.name, i.type) for i in self.inputs}
        mapping.update({p: new.parameter(n, p.type) for n, p in self.parameters.items()})
        mapping.update({c: new._intern(Constant(c.data, c.type, c.digest)) for c in self.constants.values()})
        for node in self.nodes:
            mapping.update(zip(node.results, new.clone(node, mapping).results))
        new.outputs = [(n, mapping[v]) for n, v in self.outputs]
        return new

    def clone(self, node: Node, mapping: Mapping[Value, Value]) -> Node:
        """Copy another graph's node, types and all; `mapping` gives the value of this graph for each operand."""
        operands = [None if v is None else mapping[v] for v in node.operands]
        return self._attach(Node(node.op, operands, dict(node.attrs), [r.type for r in node.results], node.provenance))

    def inline(self, callee: Graph, arguments: Sequence[Value], provenance: Provenance | None = None) -> list[Value]:
        """Copy a subgraph's nodes into this graph, reading `arguments` for its inputs. Returns its outputs here."""
        sizes: dict[str, DimLike] = {}
        for formal, actual in zip(callee.inputs, arguments, strict=True):
            unify_shapes(formal.type, actual.type, sizes)
        mapping: dict[Value, Value] = dict(zip(callee.inputs, arguments))
        mapping.update({p: self.parameter(n, p.type) for n, p in callee.parameters.items()})
        mapping.update({c: self._intern(Constant(c.data, c.type, c.digest)) for c in callee.constants.values()})
        for node in callee.nodes:
            operands = [None if v is None else mapping[v] for v in node.operands]
            attrs = {k: substitute_attribute(v, sizes) for k, v in node.attrs.items()}
            results = self.insert(node.op, operands, attrs, provenance or node.provenance)
            mapping.update(zip(node.results, results if isinstance(results, tuple) else (results,)))
        return [mapping[v] for _, v in callee.outputs]

    def part(self, scope: str | None = None, *, node: str | int | None = None) -> Graph:
        """The nodes of a scope, or one node by its number in the text (17, "%17") or an output's name, as a graph of their own.

        Its inputs are what they read, its outputs what is read of them elsewhere; `v17` is %17 of this graph. A node that passes
        made of several is in the scopes of all. Raises GraphError that lists the scopes nearby.
        """
        return part(self, select_part(self, scope, node))

    def _register_symbols(self, type: TensorType) -> None:
        for size in type.shape:
            for symbol in symbols(size):
                known = self.symbols.setdefault(symbol.name, symbol)
                if (known.min, known.max) != (symbol.min, symbol.max):
                    raise GraphError(f"dim {symbol.name} has bounds {known.min}..{known.max} here and "
                                     f"{symbol.min}..{symbol.max} there")

    def load_weights(self, weights: Any, *, cast: bool = False) -> None:
        """Load the data of all parameters into `weights`, by name, from a mapping or a `.safetensors` file.

        cast: convert floats of another precision. Raises WeightsError that lists all missing, unexpected and misshapen names.
        """
        wanted = {name: p.type for block in (*self.functions.values(), self) for name, p in block.parameters.items()}
        self.weights.load(weights, wanted, cast)

    def _repr_svg_(self) -> str | None:
        """The picture that a notebook shows: of a large graph, folded; None if it is too large even so, and `repr` has to do."""
        view = fold(self, len(self) > SHOWN_NODES)
        return render(self, ".svg", fold=len(self) > SHOWN_NODES) if len(view.reads) <= MOST_SHOWN else None


def _type(value: object) -> object:
    return value.type if isinstance(value, Value) else value
