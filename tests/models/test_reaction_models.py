"""Models of chemical reactions with the weights that come in PyPI packages: rxnfp (BERT) and rxnmapper (ALBERT).

Tests are left out without them. Nothing of the packages is imported: `pip install --no-deps --target FOLDER rxnfp rxnmapper`, and
FOLDER on PYTHONPATH, will do (without FOLDER/tests, which rxnmapper brings and which hides ours).
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import tgraph as tg

# Tokens of SMILES (Schwaller et al., doi:10.1021/acscentsci.9b00576)
TOKEN = re.compile(r"\[[^\]]+\]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|/|:|~|@|\?|>>?|\*|\$|%[0-9]{2}|[0-9]")
AMIDE = "CC(=O)Cl.NCc1ccccc1>>CC(=O)NCc1ccccc1"
ESTER = "CCO.OC(=O)c1ccc(Br)cc1>>CCOC(=O)c1ccc(Br)cc1"


def folder_of(package: str, path: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"the package {package} is not there")
    return Path(next(iter(found.submodule_search_locations))) / "models" / "transformers" / path


def rxnmapper_folder() -> Path:
    return folder_of("rxnmapper", "albert_heads_8_uspto_all_1310k")


def rxnfp_folder() -> Path:
    return folder_of("rxnfp", "bert_pretrained")


def encode(folder: Path, *reactions: str) -> tuple[np.ndarray, np.ndarray]:
    """Token numbers and mask of reactions."""
    numbers = {token: number for number, token in enumerate((folder / "vocab.txt").read_text().split("\n"))}
    rows = [[numbers[token] for token in ("[CLS]", *TOKEN.findall(reaction), "[SEP]")] for reaction in reactions]
    mask = np.arange(max(map(len, rows))) < np.array([[len(row)] for row in rows])
    return np.array([row + [numbers["[PAD]"]] * (mask.shape[1] - len(row)) for row in rows]), mask


def atoms(reaction: str) -> dict[int, str]:
    """The places of atoms among the tokens (the first is [CLS]), and which they are."""
    return {place: token for place, token in enumerate(TOKEN.findall(reaction), 1) if token[0].isalpha() or token[0] == "["}


def test_atoms_are_mapped_by_attention() -> None:
    """Head 5 of layer 10 attends from an atom of the product to where it comes from (doi:10.1126/sciadv.abe4166)."""
    model = tg.models.from_pretrained(rxnmapper_folder(), ignore=["albert.pooler."], output_attentions=True)
    graph = tg.trace(model, **model.specs)
    ids, mask = encode(rxnmapper_folder(), AMIDE, ESTER)
    weights = tg.compile(graph, "numpy")(ids, mask).attentions[10, :, 5]
    expected = {AMIDE: [0, 1, 2, 4, 5], ESTER: [0, 1, 2, 4, 5]}  # what is no ring, whose atoms are alike
    for number, (reaction, sources) in enumerate(expected.items()):
        split = TOKEN.findall(reaction).index(">>") + 1
        before = [(place, atom) for place, atom in atoms(reaction).items() if place < split]
        mapped = []
        for place, atom in atoms(reaction).items():
            if place > split:
                both = weights[number, place] + weights[number, :, place]
                same = [at for at, other in before if other.lower() == atom.lower()]
                mapped.append([at for at, _ in before].index(max(same, key=lambda at: both[at])))
        assert mapped[:len(sources)] == sources, reaction


def test_masked_tokens_of_the_product_are_found() -> None:
    model = tg.models.from_pretrained(rxnfp_folder(), "BertForMaskedLM", ignore=["bert.pooler.", "cls.seq_relationship."])
    tokens = TOKEN.findall(AMIDE)
    places = range(tokens.index(">>") + 2, len(tokens) + 1)
    ids, mask = encode(rxnfp_folder(), *[AMIDE for _ in places])
    hidden = ids.copy()
    for row, place in enumerate(places):
        hidden[row, place] = (rxnfp_folder() / "vocab.txt").read_text().split("\n").index("[MASK]")
    logits = tg.compile(tg.trace(model, **model.specs), "numpy")(hidden, mask)
    for row, place in enumerate(places):
        assert logits[row, place].argmax() == ids[row, place], tokens[place - 1]


@pytest.mark.parametrize("package", ["rxnfp", "rxnmapper"])
def test_outputs_are_transformers(package: str) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder, name = {"rxnfp": (rxnfp_folder, "BertForMaskedLM"), "rxnmapper": (rxnmapper_folder, "AlbertForMaskedLM")}[package]
    theirs = getattr(transformers, name).from_pretrained(folder(), attn_implementation="eager").eval()
    others = ["bert.pooler.", "cls.seq_relationship.", "albert.pooler."]
    ours = tg.models.from_pretrained(folder(), name, ignore=others, output_attentions=True)
    ids, mask = encode(folder(), AMIDE, ESTER)
    with torch.no_grad():
        expected = theirs(torch.tensor(ids), attention_mask=torch.tensor(mask).long(), output_attentions=True)
    for target in ("numpy", "cpu"):
        outputs = tg.compile(tg.trace(ours, **ours.specs), target)(ids, mask)
        np.testing.assert_allclose(outputs.logits[mask], expected.logits.numpy()[mask], atol=1e-4)
        for layer, values in zip(outputs.attentions, expected.attentions, strict=True):
            np.testing.assert_allclose(layer.transpose(0, 2, 1, 3)[mask], values.numpy().transpose(0, 2, 1, 3)[mask], atol=1e-5)
