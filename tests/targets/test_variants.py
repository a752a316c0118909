"""Several variants in one bundle: what is alike is stored once, the best that fits is chosen, and if none does, none is."""

from __future__ import annotations

import gc
import itertools
import json
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tgraph as tg
from targets.base.registry import backend_of
from targets.base.target import Target
from targets.cpu import instruction_sets, machine
from targets.runtime import archive
from targets.runtime.archive import Archive, write_archive
from targets.runtime.bundle import FIELDS
from targets.runtime.variants import choose
from tests.targets.feature_sets import foreign_cpu
from tests.targets.unmapped import Mapped
from tgraph import nn

B, S = tg.dims("B S")
HERE = Target.parse("cpu")
LESS = Target.parse(f"{HERE},-{min(HERE.features & {'avx512f', 'avx2', 'sse4.2', 'neon'})}")
LEAST = Target.parse(f"{LESS},-{min(LESS.features & {'avx2', 'avx', 'sse4.1', 'fullfp16', 'crc', 'neon'})}")
FOREIGN = Target.parse(foreign_cpu())


class Model(nn.Module):
    """An embedding, which all CPUs read as it is, and a product, whose weight is packed as wide as vectors are."""

    def __init__(self) -> None:
        self.embedding, self.linear = nn.Embedding(1000, 48), nn.Linear(48, 80)

    def __call__(self, ids: tg.Tensor) -> tg.Tensor:
        return tg.gelu(self.linear(self.embedding(ids)))


def traced(model: nn.Module | None = None) -> tg.Graph:
    return tg.trace(model or Model(), ids=tg.i64[B, S].range(0, 1000), name="model")


@pytest.fixture(scope="module")
def graph() -> tg.Graph:
    return traced()


@pytest.fixture(scope="module")
def executables(graph: tg.Graph) -> dict[str, tg.Executable]:
    return {str(target): tg.compile(graph, target) for target in (LEAST, LESS, HERE, FOREIGN)}


@pytest.fixture(scope="module")
def bundle(executables: dict[str, tg.Executable], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("variants") / "x.tgc"
    first, *others = executables.values()
    first.save(path, originals=True, variants=others)
    return path


@pytest.fixture
def lacking(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes this machine's CPU one without some instruction sets."""
    real = instruction_sets.host_changes()

    def lack(*names: str) -> Target:
        monkeypatch.setattr(instruction_sets, "host_changes", lambda: (*real, *(f"-{name}" for name in names)))
        machine.cpu_target.cache_clear()
        return Target.parse("cpu")
    yield lack
    machine.cpu_target.cache_clear()


IDS = np.arange(12).reshape(3, 4) * 83


def test_each_variant_computes_what_it_did_when_it_was_compiled(executables: dict[str, tg.Executable], bundle: Path) -> None:
    for text, exe in executables.items():
        if text == str(FOREIGN):
            continue
        for rebuild in (False, True):
            loaded = tg.load(bundle, target=text, rebuild=rebuild)
            assert str(loaded.target) == text and loaded.variants == tuple(executables)
            assert np.array_equal(loaded(IDS), exe(IDS))
        assert tg.check(loaded)
    best = tg.load(bundle)
    assert best.target == HERE == tg.load(bundle, target="cpu").target == tg.load(bundle, rebuild=True).target
    best.save(bundle.with_name("one.tgc"))
    assert tg.load(bundle.with_name("one.tgc")).variants == (str(HERE),)


def test_what_is_alike_is_stored_once(executables: dict[str, tg.Executable], bundle: Path) -> None:
    found = Archive(bundle, FIELDS)
    tables = [{w["name"]: w["start"] for w in variant["weights"]} for variant in found.manifest["variants"]]
    assert len({table["embedding.weight"] for table in tables}) == 1 == len({table["linear.bias"] for table in tables})
    packed = {name for table in tables for name in table} - {"embedding.weight", "linear.bias"}
    assert packed
    distinct = {exe._weights.prepared[name].tobytes() for exe in executables.values() for name in exe.kernels.parameters}
    assert found["prepared.bin"].size == sum(-(-len(data) // 64) * 64 for data in distinct)  # of multiples of 64 each
    assert {name for name in found.places if "/" not in name} == {"traced.tg", "prepared.bin", "weights.safetensors"}
    for number in range(len(executables)):
        assert {f"{number}/{name}" for name in ("library.so", "optimized.tg", "prepare.tg", "kernels.tg")} <= set(found.places)


def test_variants_are_asked_for_one_at_a_time(graph: tg.Graph, bundle: Path, tmp_path: Path) -> None:
    """When one is compiled, the one before it, and its weights, are gone: no more than two are ever in memory."""
    first, seen = tg.compile(graph, LEAST), list[weakref.ref[Any]]()

    def variants() -> Iterator[tg.Executable]:
        for target in (LESS, HERE, FOREIGN):
            assert all(reference() is None for reference in seen)
            made = [tg.compile(graph, target)]
            seen.extend([weakref.ref(made[0]), weakref.ref(next(iter(made[0]._weights.prepared.values())).base)])
            yield made.pop()

    gc.disable()  # nothing that holds weights is in a cycle of references
    try:
        first.save(tmp_path / "x.tgc", originals=True, variants=variants())
    finally:
        gc.enable()
    assert len(seen) == 6
    one, other = Archive(tmp_path / "x.tgc", FIELDS), Archive(bundle, FIELDS)
    assert one["prepared.bin"].tobytes() == other["prepared.bin"].tobytes()
    assert [v["weights"] for v in one.manifest["variants"]] == [v["weights"] for v in other.manifest["variants"]]
    one.verify()


def test_no_file_is_left_if_a_later_variant_is_refused(graph: tg.Graph, tmp_path: Path) -> None:
    exe = tg.compile(graph, LEAST)
    with pytest.raises(tg.CompileError, match="two variants"):
        exe.save(tmp_path / "x.tgc", variants=iter([tg.compile(graph, LEAST)]))
    assert not list(tmp_path.iterdir())
    exe.save(tmp_path / "x.tgc", variants=iter(()))
    assert tg.load(tmp_path / "x.tgc").variants == (str(LEAST),)


def test_the_order_of_variants_does_not_hide_the_best(executables: dict[str, tg.Executable], tmp_path: Path) -> None:
    for order in itertools.permutations((LESS, HERE, FOREIGN)):
        first, *others = (executables[str(target)] for target in order)
        first.save(tmp_path / "x.tgc", variants=others)
        assert choose(Archive(tmp_path / "x.tgc", FIELDS), None)[1] == HERE, order


def written(path: Path, variants: Sequence[tuple[str, Sequence[str]]]) -> Archive:
    """A bundle of nothing but its manifest."""
    write_archive(path, {}, {
        "tgraph": "", "tvm": "", "system": "", "kind": "graph", "fingerprint": "", "aliases": {}, "variants": [
            {"target": target, "features": list(features), "signatures": [], "weights": []} for target, features in variants]})
    return Archive(path, FIELDS)


def chosen(path: Path, *variants: tuple[str, Sequence[str]], wanted: str | None = None) -> str:
    return str(choose(written(path, variants), wanted)[1])


def test_of_variants_of_which_none_goes_beyond_the_other_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, *_ = sorted(HERE.features)
    cpus, gpu = [(str(LESS), [one]), (str(HERE), [two]), (str(LEAST), [])], ("cuda:sm_90", [])
    assert chosen(tmp_path / "x", *cpus) == str(LESS)
    assert chosen(tmp_path / "x", cpus[1], cpus[0]) == str(HERE)
    assert chosen(tmp_path / "x", (str(LEAST), []), (str(HERE), [one, two]), cpus[0]) == str(HERE)
    for problem, best in (("", "cuda:sm_90"), ("there is no GPU", str(LESS))):
        monkeypatch.setattr(type(backend_of("cuda")), "obstacle", lambda *_, problem=problem: problem)
        assert chosen(tmp_path / "x", gpu, *cpus) == best
        assert chosen(tmp_path / "x", gpu, *cpus, wanted="cpu") == str(LESS)
        assert chosen(tmp_path / "x", gpu, *cpus, wanted="cuda") == "cuda:sm_90"
    with pytest.raises(tg.TargetError, match=r"x has no variant for cuda:sm_80; it has cuda:sm_90, cpu:"):
        chosen(tmp_path / "x", gpu, *cpus, wanted="cuda:sm_80")
    with pytest.raises(tg.TargetError, match=r"unknown target 'abacus'"):
        chosen(tmp_path / "x", *cpus, wanted="abacus")
    with pytest.raises(tg.FormatError, match="lists no variant"):
        chosen(tmp_path / "x")


def test_an_error_lists_what_each_variant_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(backend_of("cuda")), "obstacle", lambda *_: "there is no GPU")
    missing, = FOREIGN.missing & {foreign_cpu().rpartition("+")[2]}
    with pytest.raises(tg.TargetError, match=rf"(?s)x was compiled for .*runs none of them:\n  cpu:.*: lacks .*{missing}.*"
                                             r"\n  cuda:sm_90: there is no GPU\n  abacus: unknown target"):
        chosen(tmp_path / "x", (str(FOREIGN), sorted(FOREIGN.features)), ("cuda:sm_90", []), ("abacus", []))


def test_features_taken_away_one_by_one(bundle: Path, unmapped: None, lacking: Callable[..., Target]) -> None:
    """Whatever this CPU lacks, the variant that is taken has none of it; the last one that could be taken is refused, too."""
    targets = [Target.parse(text) for text in (str(LEAST), str(LESS), str(HERE))]
    refused = 0
    for feature in sorted(HERE.features):
        now = lacking(feature)
        fits = [target for target in targets if target.features <= now.features]
        assert not fits or feature not in fits[-1].features
        if fits:
            assert choose(Archive(bundle, FIELDS), None)[1] == fits[-1], feature
            with pytest.raises(Mapped):
                tg.load(bundle)
        else:
            refused += 1
            with pytest.raises(tg.TargetError, match=rf"(?s)runs none of them.*{LEAST}: lacks"):
                tg.load(bundle)
        for target in targets:
            with pytest.raises(Mapped if target in fits else tg.TargetError):
                tg.load(bundle, target=str(target))
    assert 0 < refused < len(HERE.features)


@pytest.mark.parametrize(("field", "error", "problem"), [
    ("tvm", tg.FormatError, "was compiled with TVM other, and this is TVM"),
    ("system", tg.TargetError, "was compiled on other, and this is"),
])
def test_another_runtime_or_system(bundle: Path, tmp_path: Path, unmapped: None, field: str, error: type[Exception],
                                   problem: str) -> None:
    found = Archive(bundle, FIELDS)
    manifest = {k: v for k, v in found.manifest.items() if k not in archive.CONTAINER} | {field: "other"}
    write_archive(tmp_path / "x.tgc", {name: found[name].tobytes() for name in found.places}, manifest)
    with pytest.raises(error, match=problem):
        tg.load(tmp_path / "x.tgc")
    with pytest.raises(Mapped):  # what is made here
        tg.load(tmp_path / "x.tgc", rebuild=True)


def test_weights_that_do_not_lie_side_by_side_are_refused(bundle: Path, tmp_path: Path, unmapped: None) -> None:
    found = Archive(bundle, FIELDS)
    entries = {name: found[name].tobytes() for name in found.places}
    for number, variant in enumerate(found.manifest["variants"]):
        for place in range(len(variant["weights"])):
            for change in (64, -64, 1, 10**30):
                manifest = json.loads(json.dumps({k: v for k, v in found.manifest.items() if k not in archive.CONTAINER}))
                manifest["variants"][number]["weights"][place]["start"] += change
                write_archive(tmp_path / "x.tgc", entries, manifest)
                with pytest.raises(tg.FormatError, match=r"places weights|prepared\.bin has"):
                    tg.load(tmp_path / "x.tgc")


def test_what_is_no_variant(graph: tg.Graph, executables: dict[str, tg.Executable], tmp_path: Path) -> None:
    exe, path = executables[str(HERE)], tmp_path / "x.tgc"

    def refused(other: Any, problem: str, error: type[Exception] = tg.CompileError) -> None:
        with pytest.raises(error, match=problem):
            exe.save(path, variants=[other])
        assert not path.exists()

    refused("cpu:x86-64-v4", "a variant is the same graph or program as tg.compile gives it for another target, not 'cpu:")
    refused(exe, f"two variants of model are for {HERE}")
    refused(tg.compile(tg.trace(tg.relu, x=tg.f32[B]), LESS), "is of another graph")
    refused(tg.compile(tg.trace_program(Model(), __call__=tg.i64[B, S]), LESS), "a variant is the same graph")
    other = Model()
    other.linear.weight.data = np.zeros((80, 48), np.float32)
    refused(tg.compile(traced(other), LESS), r"linear\.weight holds other values in the variant for")
    refused(tg.compile(graph, "numpy"), "target numpy has no library to save", tg.TargetError)
    executables[str(LESS)].save(tmp_path / "less.tgc")
    refused(tg.load(tmp_path / "less.tgc"), "comes from a bundle without its weights")
    executables[str(LESS)].save(tmp_path / "less.tgc", originals=True)
    exe.save(path, variants=[tg.load(tmp_path / "less.tgc")])  # of the same arrays in other memory
    assert tg.load(path).variants == (str(HERE), str(LESS))
