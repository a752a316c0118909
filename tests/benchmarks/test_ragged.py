"""The committed sentences, and that both ways to run them give the same outputs in the same order."""

from __future__ import annotations

import numpy as np

from benchmarks.ragged import BATCH, PADDED, SENTENCES, SORTED, Ragged


def test_the_sentences_have_very_different_lengths() -> None:
    sentences = SENTENCES.read_text(encoding="utf-8").splitlines()
    assert len(sentences) == len(set(sentences)) == 32 and all(s == s.strip() and s.endswith(".") for s in sentences)
    batch = Ragged.read()
    assert len(batch.lengths) == 32 and batch.ids.shape == batch.mask.shape == (32, max(batch.lengths))
    assert 0.35 <= np.mean(batch.lengths) / max(batch.lengths) <= 0.5


def test_batches_hold_every_sentence_once_and_are_no_longer_than_needed() -> None:
    batch = Ragged.read()
    plans = batch.plans()
    assert [len(plans[name]) for name in (PADDED, SORTED)] == [1, 32 // BATCH]
    for feeds in plans[SORTED]:
        assert feeds["mask"].any(axis=0).all() and feeds["input_ids"].flags.c_contiguous
    assert sorted(np.concatenate(batch.batches(SORTED))) == list(range(32))


def test_outputs_of_both_plans_are_arranged_alike() -> None:
    batch = Ragged.read()
    arranged = {}
    for plan, batches in batch.plans().items():
        outputs = []
        for feeds in batches:  # an output for each token, whose padding holds anything, and one for each sentence
            ids, mask = feeds["input_ids"], feeds["mask"]
            outputs += [np.where(mask, ids, -len(outputs) - 1)[..., None] * [1.0, 2.0], (ids * mask).sum(axis=1)[:, None]]
        arranged[plan] = batch.arrange(plan, outputs)
    tokens, sums = arranged[PADDED]
    assert tokens.shape == (sum(batch.lengths), 2) and sums.shape == (32, 1)
    assert (tokens[:, 0] == batch.ids[batch.mask]).all() and (sums[:, 0] == batch.ids.sum(axis=1)).all()
    for ours, other in zip(arranged[PADDED], arranged[SORTED], strict=True):
        assert (ours == other).all()
