"""`tgraph generate`: a decoder from a folder goes on with a prompt, and the text appears as it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tgraph.cli.answers import answer, json_option
from tgraph.cli.options import Numbers, precision_options, seed_option, set_threads, target_option, threads_option
from tgraph.ir.errors import TGraphError


@click.command("generate")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("prompt")
@click.option("-n", "--max-new-tokens", default=64, show_default=True, type=click.IntRange(1), help="Stop after so many tokens.")
@click.option("--method", type=click.Choice(["greedy", "sample", "beam"]), default="greedy", show_default=True,
              help="The best token each time, drawn tokens, or beam search.")
@click.option("--beams", default=4, show_default=True, type=click.IntRange(1), help="Beams of the beam search.")
@click.option("--length-penalty", default=1.0, show_default=True, help="Scores of beams are over length to this power.")
@click.option("--temperature", default=1.0, show_default=True, help="Of drawn tokens: below 1 prefers the best.")
@click.option("--top-k", type=click.IntRange(1), help="Draw among so many best tokens.")
@click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), help="Draw among the best that have this probability.")
@seed_option
@precision_options
@target_option
@threads_option
@json_option({
    "text": "string: what the model wrote", "tokens": ["integer: a token of it"], "target": "string: what was compiled for",
    "seconds": "number: the time to write it", "seconds_to_first": "number or null: the time to its first token",
})
def command(folder: Path, prompt: str, max_new_tokens: int, method: Any, beams: int, length_penalty: float, temperature: float,
            top_k: int | None, top_p: float | None, seed: int, target: str, threads: int | None, numbers: Numbers,
            as_json: bool) -> None:
    """Go on with PROMPT by the model in FOLDER, as transformers saves one (GPT-2, Llama, ...; T5 answers a source).

    FOLDER has config.json, weights and tokenizer.json. The text is written to standard output as it comes, figures to
    standard error.

    \b
    Examples:
      $ tgraph generate ./gpt2 "the attention mechanism" -n 40
      $ tgraph generate ./llama "Once upon a time" --method sample --temperature 0.8 --top-p 0.95 --weights bf16
      $ tgraph generate ./flan-t5 "translate English to German: good morning" --method beam
    """
    import time

    import tgraph as tg
    from tgraph.cli.console import console, show_seconds
    from tgraph.cli.progress import compiling
    from tgraph.generation.text import TextStream
    from tgraph.models.generation_config import GenerationConfig

    set_threads(threads)
    model: Any = tg.models.from_pretrained(folder)
    if not hasattr(model, "step_specs"):
        raise TGraphError(f"{folder} holds a {type(model).__name__}, which writes no text; GPT2LMHeadModel, LlamaForCausalLM and "
                          "their like do, and T5ForConditionalGeneration")
    tokenizer, config = tg.models.load_tokenizer(folder), GenerationConfig.of(folder)
    methods = {"start": model.start_specs} if hasattr(model, "start_specs") else {}
    program = tg.trace_program(model, **methods, step={"tokens": model.step_specs["tokens"]})
    with compiling(f"compiling {type(model).__name__}") as steps:
        exe = tg.compile(program, target, progress=steps, **numbers)
    ids = tokenizer.encode(prompt).ids
    if not ids:
        raise TGraphError("the prompt has no tokens")
    options: dict[str, dict[str, Any]] = {
        "greedy": {}, "beam": {"beams": beams, "length_penalty": length_penalty},
        "sample": {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}}
    session = exe.session(B=1, C=max_new_tokens + (1 if methods else len(ids)))
    text, begun = TextStream(tokenizer), time.perf_counter()
    first = 0.0

    def show(tokens: list[int | None]) -> None:
        nonlocal first
        first = first or time.perf_counter()
        if tokens[0] is not None and tokens[0] not in config.stop and not as_json:
            click.echo(text.push(tokens[0]), nl=False)

    if methods:
        if config.start is None:
            raise TGraphError(f"{folder}: no decoder_start_token_id in generation_config.json or config.json")
        session.start([ids], [[True] * len(ids)])
        ids = [config.start]
    generated = tg.generate(session, ids, max_new_tokens=max_new_tokens, method=method, stop=config.stop,
                            stream=None if method == "beam" else show, **options[method])
    end = time.perf_counter()
    if as_json:
        answer({"text": tokenizer.decode(generated[0]), "tokens": generated[0], "target": str(exe.target), "seconds": end - begun,
                "seconds_to_first": first - begun if first else None}, True)
        return
    click.echo(tokenizer.decode(generated[0]) if method == "beam" else text.finish())
    count = len(generated[0])
    rate = f", then {(count - 1) / (end - first):.1f} tokens a second" if first and count > 1 else ""
    start = f"the first after {show_seconds(first - begun)}" if first else f"in {show_seconds(end - begun)}"
    console(stderr=True).print(f"[dim]{count} tokens on {exe.target}, {start}{rate}[/dim]")
