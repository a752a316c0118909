"""The figures of one machine: measured by processes of their own, kept as JSON, and the cost of a document that follows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.busy import BUSY, busy_share, cores
from benchmarks.machine import Machine, Probe
from benchmarks.scale.documents import padded
from benchmarks.scale.fleet import Job
from benchmarks.scale.probes import forget

MODELS = ("minilm", "bert-base")
LENGTHS = (16, 64, 128, 256)
NAME = "scale.json"
RESULTS = Path(__file__).with_name("results")  # a folder for each kind of machine
WINDOW = 2048  # documents that `tgraph.batch` sorts by length


@dataclass(frozen=True)
class Figures:
    """speed, starts and together by model: see `measure`. busy: the share of the machine that others used before or after."""

    machine: Machine
    date: str
    busy: float
    speed: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]
    starts: Mapping[str, Mapping[str, Any]]
    together: Mapping[str, float]
    files: Mapping[str, Any]

    @property
    def under_load(self) -> bool:
        """Whether others computed, so that times by the wall are too long."""
        return self.busy > BUSY

    @property
    def clock(self) -> str:
        """Which seconds of a process of one thread to trust."""
        return "cpu" if self.under_load else "seconds"

    def call_seconds(self, model: str, lengths: Iterable[int]) -> np.ndarray:
        """Of the model alone on one core, for a document of each length, with the cores beside it at work."""
        points = self.speed[model]["1"]
        at = [p["length"] for p in points]
        seconds = [p[self.clock] / p["rows"] for p in points]
        return np.interp(list(lengths), at, seconds) * self.together[model]

    def text_seconds(self, lengths: Iterable[int]) -> np.ndarray:
        """Tokenizing, and Parquet out and in, for a document of each length."""
        asked, files = np.asarray(list(lengths)), self.files
        found = sum(_line(files[kind], self.clock, asked) for kind in ("tokenize", "text"))
        return found + files["vectors"][self.clock] / files["vectors"]["rows"]

    def text_bytes(self, length: float) -> float:
        """Of a document's text in Parquet."""
        return float(_line(self.files["text"], "bytes", length))

    def width(self, model: str) -> int:
        """Numbers of a vector."""
        return int(self.starts[model]["width"])

    def start_seconds(self, model: str) -> float:
        """From a worker's start to its first result, the bundle in the system's cache."""
        return float(self.starts[model]["cpu" if self.under_load else "process"])

    def job(self, model: str, documents: int, lengths: Sequence[int] | np.ndarray, part: int = 10_000) -> Job:
        """So many documents whose lengths are distributed as `lengths` are; a part is sorted by length in windows."""
        calls = self.call_seconds(model, padded(lengths, min(part, WINDOW)))
        seconds = float(np.mean(calls) + np.mean(self.text_seconds(lengths)))
        vectors = self.files["vectors"]
        wider, text = self.width(model) / vectors["width"], self.text_bytes(float(np.mean(lengths)))
        join = self.files["join"]
        return Job(documents, part, seconds, text, text + vectors["bytes"] / vectors["rows"] * wider, self.starts[model]["bytes"],
                   self.start_seconds(model), self.files["part"][self.clock], join[self.clock] / join["rows"] * wider)

    def save(self, folder: Path = RESULTS) -> Path:
        path = folder / self.machine.name / NAME
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return path


def _line(points: Sequence[Mapping[str, float]], what: str, lengths: Any) -> Any:
    """What a row needs at other lengths, on the line through the first and the last point."""
    (x0, y0), (x1, y1) = ((p["length"], p[what] / p["rows"]) for p in (points[0], points[-1]))
    return y0 + (lengths - x0) * (y1 - y0) / (x1 - x0)


def load(path: Path | None = None) -> Figures:
    """Those of a file, by default the latest in RESULTS. Raises FileNotFoundError where there are none."""
    found = sorted(RESULTS.glob(f"*/{NAME}"), key=lambda p: str(json.loads(p.read_text())["date"])) if path is None else [path]
    if not found:
        raise FileNotFoundError("no machine has been measured: python -m benchmarks.scale measure")
    values = json.loads(found[-1].read_text(encoding="utf-8"))
    return Figures(**{**values, "machine": Machine.from_json(values["machine"])})


def save_bundle(model: str, folder: Path) -> Path:
    """A model's bundle; bert-base is a sentence encoder of random weights."""
    import tgraph as tg
    from tgraph.cli.models import BERTS, TOKENS, minilm
    from tgraph.models.bert import Bert, BertConfig
    from tgraph.models.sentence import SentenceEncoder

    if model == "minilm":
        graph = minilm()
    else:
        graph = minilm(SentenceEncoder(Bert(BertConfig(vocab_size=TOKENS, **BERTS[model]), pooler=False)))
    path = folder / f"{model}.tgc"
    tg.compile(graph).save(path)
    return path


def child(module: str, *arguments: object, core: int | None = None) -> subprocess.Popen[str]:
    """A process of this package, on one core if it is named."""
    command = [sys.executable, "-m", f"benchmarks.scale.{module}", *map(str, arguments)]
    if core is not None:
        command = ["taskset", "-c", str(core), *command]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=Path(__file__).parents[2])


def answer(process: subprocess.Popen[str]) -> Any:
    """What it printed. Raises CalledProcessError."""
    text, _ = process.communicate()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, process.args)
    return json.loads(text.splitlines()[-1])


def measure(progress: Callable[[str], None], models: Sequence[str] = MODELS) -> Figures:
    """This machine. It should have nothing else to do; about four minutes.

    speed: calls by model, threads and length. starts: seconds of a worker's start by step, with the bundle read from the disk
    (cold) and from the system's cache. together: how much longer a call takes while every core runs one. files: `probes.files`.

    While others compute, each start is tried once, and what needs all cores is left out: calls have somebody beside them anyway.
    """
    from tgraph.models.sentence import minilm_folder

    busy = busy_share(2.0)
    loaded, tries = busy > BUSY, 1 if busy > BUSY else 3
    progress("the machine")
    with Probe(cores()) as probe:
        machine = probe.measure()
    allowed = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name:
        progress("files")
        files = answer(child("probes", "files", name, minilm_folder() / "tokenizer.json", core=allowed[0]))
        speed: dict[str, dict[str, Any]] = {}
        starts, together = {}, {}
        for model in models:
            progress(f"{model}: compiling")
            bundle = save_bundle(model, Path(name))
            lengths = ",".join(map(str, LENGTHS))
            progress(f"{model}: starting a worker")
            starts[model] = {"bytes": bundle.stat().st_size, "width": 384 if model == "minilm" else 768, **_starts(bundle, tries)}
            speed[model] = {}
            for threads in dict.fromkeys((1, 1 if loaded else len(allowed))):
                progress(f"{model}: {threads} threads")
                core = allowed[0] if threads == 1 else None
                speed[model][str(threads)] = answer(child("probes", "speed", bundle, threads, lengths, core=core))
            progress(f"{model}: a process on each core")
            together[model] = 1.0 if loaded else _together(bundle, allowed, speed[model]["1"])
    return Figures(machine, date.today().isoformat(), max(busy, busy_share(2.0)), speed, starts, together, files)


def _starts(bundle: Path, count: int) -> dict[str, Any]:
    """The least of so many starts of each kind; `process` is the whole, from outside."""
    found: dict[str, Any] = {}
    for kind in ("cold", "warm"):
        tries = []
        for _ in range(count):
            if kind == "cold":
                forget(bundle)
            begun = time.perf_counter()
            steps = answer(child("probes", "start", bundle))
            tries.append({**steps, "process": time.perf_counter() - begun})
        best = min(tries, key=lambda steps: steps["process"])
        found.update(best if kind == "warm" else {f"{kind}_{step}": seconds for step, seconds in best.items()})
    return found


def _together(bundle: Path, allowed: Sequence[int], alone: Sequence[Mapping[str, float]]) -> float:
    """A call's time while each core runs one, over its time alone: the mean over cores, at a middle length."""
    point = alone[len(alone) // 2]
    processes = [child("probes", "speed", bundle, 1, point["length"], core=core) for core in allowed]
    found = [answer(process)[0]["seconds"] for process in processes]
    return max(1.0, float(np.mean(found)) / point["seconds"])
