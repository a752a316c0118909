"""Trains the two models of dates with PyTorch, whose parameters have the same names, and writes their weights beside this file.

    python examples/train_dates.py [plain | additive] [--steps 1000]

Needs: pip install torch safetensors. Takes some minutes on a core.
"""

import argparse
from pathlib import Path

import torch
from dates import BEGIN, SIZES, numbers, pairs, targets
from safetensors.torch import save_file
from torch import nn


class Attention(nn.Module):
    """v . tanh(W q + U k)."""

    def __init__(self, size):
        super().__init__()
        self.query, self.key = nn.Linear(size, size, bias=False), nn.Linear(size, size, bias=False)
        self.v = nn.Linear(size, 1, bias=False)

    def forward(self, query, keys, mask):
        scores = self.v(torch.tanh(self.query(query)[:, :, None] + self.key(keys)[:, None]))[..., 0]
        return scores.masked_fill(~mask[:, None], -torch.inf).softmax(-1) @ keys


class Seq2Seq(nn.Module):
    """tgraph.models.seq2seq.Seq2Seq with GRUs of one layer, an encoder of both directions, and teacher forcing."""

    def __init__(self, source_vocab, target_vocab, dim, hidden, attention):
        super().__init__()
        self.source_embedding, self.target_embedding = nn.Embedding(source_vocab, dim), nn.Embedding(target_vocab, dim)
        self.encoder = nn.GRU(dim, hidden // 2, batch_first=True, bidirectional=True)
        self.decoder = nn.GRU(dim, hidden, batch_first=True)
        self.attention = Attention(hidden) if attention else None
        self.combine = nn.Linear(2 * hidden, hidden, bias=False) if attention else None
        self.output = nn.Linear(hidden, target_vocab)

    def forward(self, source, mask, target):
        packed = nn.utils.rnn.pack_padded_sequence(self.source_embedding(source), mask.sum(1), batch_first=True,
                                                   enforce_sorted=False)
        states, last = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])
        h, _ = self.decoder(self.target_embedding(target), torch.cat([last[0], last[1]], dim=-1)[None])
        if self.attention is not None:
            h = torch.tanh(self.combine(torch.cat([self.attention(h, memory, mask), h], dim=-1)))
        return self.output(h)


def batch(count, seed, test):
    sources, isos = zip(*pairs(count, seed, test))
    ids, mask = numbers(list(sources))
    wanted = torch.tensor(targets(list(isos)))
    given = torch.cat([torch.full((count, 1), BEGIN), wanted[:, :-1]], dim=1)
    return torch.tensor(ids), torch.tensor(mask), given, wanted


def train(kind, steps):
    torch.manual_seed(0)
    model = Seq2Seq(**SIZES, attention=kind == "additive")
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.006, total_steps=steps)
    test = batch(2000, 1, True)
    for step in range(steps):
        *feeds, wanted = batch(128, 1000 + step, False)
        loss = nn.functional.cross_entropy(model(*feeds).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 249 or step == steps - 1:
            with torch.no_grad():
                right = (model(*test[:-1]).argmax(-1) == test[-1]).all(1).float().mean().item()
            print(f"{kind} step {step + 1}: loss {loss.item():.4f}, held-out dates all right {right:.2%}", flush=True)
    path = Path(__file__).with_name(f"dates_{kind}.safetensors")
    save_file({name: p.detach().half().contiguous() for name, p in model.state_dict().items()}, path)
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("kinds", nargs="*", default=["additive", "plain"])
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)  # steps are short
    for kind in options.kinds:
        train(kind, options.steps)
