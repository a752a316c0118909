"""The models that other runtimes have too."""

from __future__ import annotations

from typing import Any


def peer_of(model: str) -> dict[str, Any] | None:
    """A Job's `peer` for a built-in BERT: its config, prefix of weights' names, and head. None for other models."""
    import dataclasses
    import json

    from tgraph.cli.models import BERTS
    from tgraph.models.bert import BertConfig

    if model in BERTS:
        config, prefix, head = BertConfig(**BERTS[model]), "", "hidden"
    elif model == "minilm":
        from tgraph.models.sentence import minilm_folder

        config = BertConfig.from_dict(json.loads((minilm_folder() / "config.json").read_text(encoding="utf-8")))
        prefix, head = "bert.", "sentence"
    else:
        return None
    return {"class": "benchmarks.harness.bert_peer:BertPeer",
            "arguments": {"config": dataclasses.asdict(config), "prefix": prefix, "head": head}}
