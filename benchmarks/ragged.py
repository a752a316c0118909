"""A batch of sentences of very different lengths: padded to the longest, and, for whom that is better, sorted into batches."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.job import Feeds

PADDED, SORTED = "padded to the longest", "sorted by length"
BATCH = 8  # sentences of about one length that are padded together
SENTENCES = Path(__file__).with_name("sentences.txt")


@dataclass(frozen=True)
class Ragged:
    """Token numbers [B, S] and mask [B, S] of the sentences, and the ways to run them."""

    ids: np.ndarray
    mask: np.ndarray

    @classmethod
    def read(cls, path: Path = SENTENCES) -> Ragged:
        """The committed list, by MiniLM's tokenizer (which is BERT's, uncased)."""
        from tokenizers import Tokenizer

        from tgraph.models.sentence import encode_batch, minilm_folder

        tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
        return cls(*encode_batch(tokenizer, path.read_text(encoding="utf-8").splitlines()))

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sentence."""
        return [int(n) for n in self.mask.sum(axis=1)]

    def batches(self, plan: str) -> list[np.ndarray]:
        """The sentences of each batch, by number."""
        everything = np.arange(len(self.ids))
        if plan == PADDED:
            return [everything]
        order = np.argsort(self.lengths, kind="stable")
        return np.split(order, range(BATCH, len(order), BATCH))

    def plans(self) -> dict[str, list[Feeds]]:
        """The inputs of both ways."""
        return {plan: [self._feeds(rows) for rows in self.batches(plan)] for plan in (PADDED, SORTED)}

    def _feeds(self, rows: np.ndarray) -> Feeds:
        length = int(self.mask[rows].sum(axis=1).max())
        return {"input_ids": np.ascontiguousarray(self.ids[rows, :length]),
                "mask": np.ascontiguousarray(self.mask[rows, :length])}

    def arrange(self, plan: str, outputs: list[np.ndarray]) -> list[np.ndarray]:
        """The outputs of a plan, batch after batch, as one array each: [B, ...] in the order of the list, or, of an output
        for each token, [N, ...] with the real tokens alone."""
        batches = self.batches(plan)
        count = len(outputs) // len(batches)
        order = np.argsort(np.concatenate(batches))
        arranged = []
        for output in range(count):
            sentences = [row for batch in range(len(batches)) for row in outputs[batch * count + output]]
            in_order = [sentences[i] for i in order]
            if in_order[0].ndim > 1:
                in_order = [row[:length] for row, length in zip(in_order, self.lengths)]
                arranged.append(np.concatenate(in_order))
            else:
                arranged.append(np.stack(in_order))
        return arranged
