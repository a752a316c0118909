"""Generation side by side: tgraph's sessions, CTranslate2, and ONNX Runtime with a past, on models of random weights.

    python -m benchmarks.generation                      # GPT-2 small, batch 1 and 8, f32 and i8
    python -m benchmarks.generation --weights i8,i4      # beside ONNX Runtime's MatMulNBits; CTranslate2 has no 4 bits on CPUs
    python -m benchmarks.generation --model t5           # T5 small, an encoder and a decoder
    python -m benchmarks.generation --curve --plot generation.svg   # GPT-2 by length of the past, as a table and a picture
    python -m benchmarks.generation --layers 2 --rounds 2 --points 1x16

A point is a batch of prompts (T5: sources) of one length; each contender, in a process of its own, generates the same number of
tokens greedily, without a stop. Reported are milliseconds a step (a call with one token a row, the prompt's own left out) and the
ratio to tgraph's, round by round. Needs torch and transformers to make the model, ctranslate2 and onnxruntime as peers.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from benchmarks import translation
from benchmarks.decoding import CTranslate2, Generated, Past, onnx_session, timed_steps
from benchmarks.harness.contender import cpu_seconds
from benchmarks.harness.turns import wait_until_quiet

VOCABULARY = 50257
STEPS = 24


class TGraph:
    """A session of the compiled step."""

    def load(self, folder: Path, weights: str, threads: int) -> None:
        import tgraph as tg

        tg.set_num_threads(threads)
        model: Any = tg.models.from_pretrained(folder)
        program = tg.trace_program(model, step={"tokens": model.step_specs["tokens"]})
        self.exe = tg.compile(program, weights=weights)

    def generate(self, prompts: np.ndarray, steps: int) -> Generated:
        session = self.exe.session(B=len(prompts), C=prompts.shape[1] + steps)
        return timed_steps(session.step, session.step(prompts), steps)


class Generator(CTranslate2):
    """CTranslate2's generator."""

    kind, vocabulary = "Generator", "vocabulary.json"

    def write(self, words: list[list[str]], count: int) -> Sequence[list[str]]:
        results = self.model.generate_batch(
            words, max_length=count, min_length=count, include_prompt_in_result=False, beam_size=1, end_token=[])
        return [r.sequences[0] for r in results]


class OnnxRuntime:
    """The decoder with its past as inputs and outputs, as PyTorch's exporter writes it."""

    def load(self, folder: Path, weights: str, threads: int) -> None:
        file = folder / "past.onnx"
        if not file.exists():
            _export(folder, file)
        self.session = onnx_session(file, weights, threads)

    def generate(self, prompts: np.ndarray, steps: int) -> Generated:
        past = Past(self.session, len(prompts), {})
        return timed_steps(past.step, past.step(prompts), steps)


CONTENDERS: dict[str, type[Any]] = {"tgraph": TGraph, "ctranslate2": Generator, "onnxruntime": OnnxRuntime}


def _export(folder: Path, file: Path) -> None:
    """The model in a folder as ONNX, with `past_key_values` in and out."""
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    layers, heads = model.config.n_layer, model.config.n_head

    class Step(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, tokens: Any, *past: Any) -> Any:
            cache = DynamicCache()
            for layer in range(layers):
                cache.update(past[2 * layer], past[2 * layer + 1], layer)
            made = self.model(tokens, past_key_values=cache, use_cache=True)
            present = made.past_key_values
            return made.logits[:, -1:], *[part for layer in present.layers for part in (layer.keys, layer.values)]

    past = [torch.zeros(2, heads, 3, model.config.n_embd // heads) for _ in range(2 * layers)]
    names = [f"past.{i}" for i in range(2 * layers)]
    axes = {"tokens": {0: "B", 1: "T"}, **{n: {0: "B", 2: "P"} for n in names},
            **{n.replace("past", "present"): {0: "B", 2: "P+T"} for n in names}}
    torch.onnx.export(Step(), (torch.zeros(2, 1, dtype=torch.int64), *past), str(file), dynamo=False, opset_version=17,
                      input_names=["tokens", *names], output_names=["scores", *(n.replace("past", "present") for n in names)],
                      dynamic_axes=axes)


def make_gpt2(folder: Path, layers: int) -> None:
    """GPT-2 small with so many layers and random weights, and a tokenizer of as many words."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=layers)).save_pretrained(folder)
    words = {f"w{i}": i for i in range(VOCABULARY - 1)} | {"<|endoftext|>": VOCABULARY - 1}
    Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>")).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>"}))


@dataclass(frozen=True)
class Model:
    """A model to generate with: what makes its folder, its layers and points by default, its words, and who takes part."""

    make: Callable[[Path, int], None]
    layers: int
    points: str
    vocabulary: int
    contenders: dict[str, type[Any]]


MODELS = {"gpt2": Model(make_gpt2, 12, "1x16,1x512,1x960,8x16,8x512", VOCABULARY, CONTENDERS),
          "t5": Model(translation.make_model, 6, "1x32,8x32", translation.VOCABULARY, translation.CONTENDERS)}
CURVE = (16, 64, 128, 256, 384, 512, 640, 768, 896, 992)


class Process:
    """A contender in a process of its own."""

    def __init__(self, name: str, model: str, folder: Path, weights: str, threads: int):
        self.name = name
        command = [sys.executable, "-m", "benchmarks.generation", "--contender", name, "--model", model, "--folder", str(folder),
                   "--weights", weights, "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **question: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise click.ClickException(f"{self.name} ended with exit status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def cpu_seconds(self) -> float | None:
        return cpu_seconds(self.process.pid)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(contender: Any, vocabulary: int, folder: Path, weights: str, threads: int) -> None:
    """Answer points with tokens and seconds a step, until the input ends."""
    replies, sys.stdout = sys.stdout, sys.stderr
    contender.load(folder, weights, threads)
    for line in sys.stdin:
        question = json.loads(line)
        prompts = np.random.default_rng(0).integers(3, vocabulary - 1, (question["batch"], question["length"]))
        tokens, seconds = contender.generate(prompts, question["steps"])
        replies.write(json.dumps({"tokens": tokens, "seconds": seconds / question["steps"]}) + "\n")
        replies.flush()


@dataclass(frozen=True)
class Timed:
    """A contender at a point: its seconds a step in each round, and the share of its tokens that are tgraph's."""

    name: str
    seconds: list[float]
    same: float

    @property
    def milliseconds(self) -> float:
        return statistics.median(self.seconds) * 1e3

    def ratios(self, ours: Timed) -> list[float]:
        """Its time over tgraph's in each round, ascending."""
        return sorted(s / o for s, o in zip(self.seconds, ours.seconds))


@click.command()
@click.option("--model", "name", type=click.Choice([*MODELS]), default="gpt2", show_default=True)
@click.option("--layers", type=int, help="[default: 12 of GPT-2, 6 + 6 of T5]")
@click.option("--points", help="Batch x length of the prompts.  [default: 1x16,1x512,1x960,8x16,8x512; of T5 1x32,8x32]")
@click.option("--peers", default="ctranslate2,onnxruntime", show_default=True)
@click.option("--weights", default="f32,i8", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--curve", is_flag=True, help="GPT-2 at batch 1 for many lengths of the past, as a table.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the curve into this file.")
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the model here, or take it from there.")
@click.option("--contender", hidden=True)
def main(name: str, layers: int | None, points: str | None, peers: str, weights: str, rounds: int, threads: int, curve: bool,
         plot: Path | None, folder: Path | None, contender: str | None) -> None:
    """Time steps of generation beside other runtimes."""
    model = MODELS[name]
    if contender is not None:
        assert folder is not None
        serve(model.contenders[contender](), model.vocabulary, folder, weights, threads)
        return
    if plot is not None and not curve:
        raise click.UsageError("--plot draws what --curve measures: give both")
    if curve and name != "gpt2":
        raise click.UsageError("--curve is by the length of GPT-2's past; T5 has none before the first token")
    names = ["tgraph", *filter(None, peers.split(","))]
    if curve:
        points = ",".join(f"1x{length}" for length in CURVE)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) if folder is None else folder
        if not (place / "config.json").exists():
            place.mkdir(parents=True, exist_ok=True)
            model.make(place, layers or model.layers)
        found = {}
        for kind in weights.split(","):
            able = [n for n in names if kind in getattr(model.contenders[n], "weights", (kind,))]
            found[kind] = dict(compare(able, name, place, kind, (points or model.points).split(","), rounds, threads))
        if curve:
            from benchmarks import generation_curve
            from benchmarks.machine import Probe

            sizes = json.loads((place / "config.json").read_text(encoding="utf-8"))
            token_bytes = 2 * 4 * sizes["n_layer"] * sizes["n_embd"]
            with Probe(threads) as probe:
                measured = generation_curve.Curve(found, token_bytes, probe.measure().bandwidth)
            click.echo(measured.tables())
            if plot is not None:
                measured.draw(plot)


def compare(names: list[str], model: str, folder: Path, weights: str, points: list[str], rounds: int,
            threads: int) -> Iterator[tuple[str, list[Timed]]]:
    """The contenders at each point, which are printed as they come."""
    processes = [Process(name, model, folder, weights, threads) for name in names]
    for point in points:
        batch, length = map(int, point.split("x"))
        question = {"batch": batch, "length": length, "steps": STEPS}
        first = [p.ask(**question)["tokens"] for p in processes]
        timed = [Timed(name, [], float(np.mean(np.array(tokens) == np.array(first[0])))) for name, tokens in zip(names, first)]
        for number in range(rounds):
            for i in sorted(range(len(names)), key=lambda i: (i + number) % len(names)):
                if not wait_until_quiet(processes):  # threads that wait in a loop take a core from whoever is next
                    click.echo(f"{point}: a contender computes in another's turn", err=True)
                timed[i].seconds.append(processes[i].ask(**question)["seconds"])
        for one in timed:
            ratios = one.ratios(timed[0])
            click.echo(f"{weights:4} {point:>6} {one.name:12} {one.milliseconds:8.2f} ms a step, "
                       f"{statistics.median(ratios):5.2f} of tgraph's time ({ratios[0]:.2f} .. {ratios[-1]:.2f}), "
                       f"{one.same:4.0%} of the tokens the same")
        yield point, timed
    for process in processes:
        process.close()


if __name__ == "__main__":
    main()
