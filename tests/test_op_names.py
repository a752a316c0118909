"""What is known of an op stands with the op: passes, targets and checks hold no sets of op names but those of their own anchors.

A set that is missing an op fails in silence, and none has a user's own op. So they ask for traits (tgraph/ir/traits.py).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tgraph.ops  # noqa: F401  (registers the ops)
from tgraph.ir.registry import OPS

ROOT = Path(__file__).resolve().parents[1]
BUILT_IN = {name for name, op in OPS.items() if op.infer.__module__.startswith("tgraph.ops")}

# Where op names may stand together, and why. A pass may name the ops that it is about; a kernel is written for an op.
ALLOWED = {
    "passes/attention/conditions.py": "comparisons with 0 of what was reduced over the keys",
    "passes/attention/positions.py": "sums and comparisons of positions, each read by its own meaning",
    "passes/attention/scores.py": "sums and products on the way to the scores, each followed by its own rule",
    "passes/debug/validation.py": "the two ways to write the weights of attention without the op",
    "passes/products.py": "the two ways to write a product with a weight",
    "passes/transforms/fuse_embeddings.py": "the anchors: a sum of embeddings",
    "passes/transforms/remove_padding.py": "the anchors: what reads a mask, and at which operand",
    "targets/codegen/opaque.py": "a table of TVM's nodes, some of which have the name of an op",
    "targets/codegen/recurrence.py": "the formulas of a step of each recurrence",
    "targets/codegen/scalar.py": "the table of scalar expressions",
    "targets/cpu/emitters/__init__.py": "a table of kernels",
    "targets/cuda/emitters/__init__.py": "a table of kernels",
    "tgraph/reference/special.py": "the two ways to write a softmax, and to multiply with a constant",
}


def sets_of_names(source: str) -> Iterator[tuple[int, list[str]]]:
    """The literals of a file that hold names of two or more ops, by line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Set, ast.Tuple, ast.List)):
            items: list[ast.expr | None] = list(node.elts)
        elif isinstance(node, ast.Dict):
            items = list(node.keys)
        else:
            continue
        names = [i.value for i in items if isinstance(i, ast.Constant) and isinstance(i.value, str) and i.value in BUILT_IN]
        if len(names) >= 2:
            yield node.lineno, names


def found() -> dict[str, list[str]]:
    """All such literals of passes, targets and the reference, by file."""
    result: dict[str, list[str]] = {}
    for package in ("passes", "targets", "tgraph/reference"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            for line, names in sets_of_names(path.read_text(encoding="utf-8")):
                result.setdefault(name, []).append(f"{name}:{line}: {', '.join(names)}")
    return result


def test_no_sets_of_op_names() -> None:
    wrong = [line for name, lines in found().items() if name not in ALLOWED for line in lines]
    assert not wrong, "ask for a trait (tgraph/ir/traits.py) instead of listing ops:\n" + "\n".join(wrong)


def test_no_exception_is_left_over() -> None:
    assert not ALLOWED.keys() - found().keys()


def test_such_a_set_is_found() -> None:
    assert list(sets_of_names('A = {"add", "mul"}\nB = {"reshape": 1, "transpose": 2}\nC = frozenset(("add", *B, "sub"))')) == [
        (1, ["add", "mul"]), (2, ["reshape", "transpose"]), (3, ["add", "sub"])]
    assert not list(sets_of_names('A = ("add", "nothing of ours")\nB = node.op.name == "add"'))
