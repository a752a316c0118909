"""Ops of the standard that a graph cannot say, each with what to do instead."""

from __future__ import annotations

from ..registry import refused

_LOOP = "is a loop; export its body as a model of its own, and call that as often"
_OPTIONAL = "is about optionals, or runs for each of a sequence's tensors; export the model with tensors alone"
_STRINGS = "is about strings; leave the text to the tokenizer, before the model"
_IMAGES = "reads images at places that are computed, which tgraph does not; do it before the model"
_SPECTRUM = "is a Fourier transform, which tgraph does not have; make its result an input"
_CHOICE = "gives as many results as the data decides, in an order of its own; leave it to the code after the model"
_RANDOM = "is random; a graph gives one result for one input: make the numbers an input of the model"

for _why, _ops in {
    "is a recurrence over the sequence, which tgraph does not have yet": ("LinearAttention",),
    _LOOP: ("Loop", "Scan"),
    _OPTIONAL: ("SequenceMap", "Optional", "OptionalGetElement", "OptionalHasElement"),
    _STRINGS: ("StringConcat", "StringNormalizer", "StringSplit", "RegexFullMatch", "TfIdfVectorizer"),
    _IMAGES: ("GridSample", "AffineGrid", "RoiAlign", "MaxRoiPool", "DeformConv", "ImageDecoder", "Col2Im",
              "MaxUnpool"),
    _SPECTRUM: ("DFT", "STFT", "MelWeightMatrix"),
    _CHOICE: ("NonMaxSuppression", "Unique"),
    _RANDOM: ("Multinomial", "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli"),
    "is about the bits of integers, which tgraph does not see; compute it before the model": (
        "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "BitwiseNot", "BitCast"),
    "is a determinant, which tgraph does not have": ("Det",),
}.items():
    refused(*_ops, why=_why)
