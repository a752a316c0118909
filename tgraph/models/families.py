"""Which published models there are: for each `model_type` of a config.json its config and its architectures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import albert, bert, deberta, distilbert, electra, gpt2, llama, modernbert, mpnet, roberta, t5
from .config import ModelConfig
from .heads import Model


@dataclass(frozen=True)
class Family:
    """A kind of model: its config, and its architectures; the first has no head, and `prefix` is what the others call it."""

    config: type[ModelConfig]
    prefix: str
    architectures: dict[str, Callable[..., Model]]
    paper: str


def _family(config: type[ModelConfig], prefix: str, base: str, model: type[Model], *heads: type[Model], paper: str,
            renamed: str = "") -> Family:
    """A family whose heads have our classes' names, or, where these are another family's, such that begin with `renamed`."""
    names = [head.__name__ if not renamed else renamed + head.__name__[head.__name__.index("For"):] for head in heads]
    return Family(config, prefix, {base: model, **dict(zip(names, heads))}, paper)


_ROBERTA_HEADS = (roberta.RobertaForMaskedLM, roberta.RobertaForSequenceClassification, roberta.RobertaForTokenClassification,
                  roberta.RobertaForQuestionAnswering)
_LLAMA_HEADS = (llama.LlamaForCausalLM, llama.LlamaForSequenceClassification, llama.LlamaForTokenClassification)

FAMILIES: dict[str, Family] = {
    "bert": _family(
        bert.BertConfig, "bert", "BertModel", bert.Bert, bert.BertForMaskedLM, bert.BertForPreTraining,
        bert.BertForNextSentencePrediction, bert.BertForSequenceClassification, bert.BertForTokenClassification,
        bert.BertForQuestionAnswering, paper="1810.04805"),
    "roberta": _family(roberta.RobertaConfig, "roberta", "RobertaModel", roberta.Roberta, *_ROBERTA_HEADS, paper="1907.11692"),
    "xlm-roberta": _family(roberta.RobertaConfig, "roberta", "XLMRobertaModel", roberta.Roberta, *_ROBERTA_HEADS,
                           renamed="XLMRoberta", paper="1911.02116"),
    "camembert": _family(roberta.RobertaConfig, "roberta", "CamembertModel", roberta.Roberta, *_ROBERTA_HEADS,
                         renamed="Camembert", paper="1911.03894"),
    "albert": _family(
        albert.AlbertConfig, "albert", "AlbertModel", albert.Albert, albert.AlbertForMaskedLM, albert.AlbertForPreTraining,
        albert.AlbertForSequenceClassification, albert.AlbertForTokenClassification, albert.AlbertForQuestionAnswering,
        paper="1909.11942"),
    "distilbert": _family(
        distilbert.DistilBertConfig, "distilbert", "DistilBertModel", distilbert.DistilBert, distilbert.DistilBertForMaskedLM,
        distilbert.DistilBertForSequenceClassification, distilbert.DistilBertForTokenClassification,
        distilbert.DistilBertForQuestionAnswering, paper="1910.01108"),
    "electra": _family(
        electra.ElectraConfig, "electra", "ElectraModel", electra.Electra, electra.ElectraForPreTraining,
        electra.ElectraForMaskedLM, electra.ElectraForSequenceClassification, electra.ElectraForTokenClassification,
        electra.ElectraForQuestionAnswering,
        paper="2003.10555"),
    "mpnet": _family(
        mpnet.MPNetConfig, "mpnet", "MPNetModel", mpnet.MPNet, mpnet.MPNetForMaskedLM, mpnet.MPNetForSequenceClassification,
        mpnet.MPNetForTokenClassification, mpnet.MPNetForQuestionAnswering, paper="2004.09297"),
    "deberta-v2": _family(
        deberta.DebertaV2Config, "deberta", "DebertaV2Model", deberta.DebertaV2, deberta.DebertaV2ForMaskedLM,
        deberta.DebertaV2ForSequenceClassification, deberta.DebertaV2ForTokenClassification,
        deberta.DebertaV2ForQuestionAnswering, paper="2006.03654"),
    "modernbert": _family(
        modernbert.ModernBertConfig, "model", "ModernBertModel", modernbert.ModernBert, modernbert.ModernBertForMaskedLM,
        modernbert.ModernBertForSequenceClassification, modernbert.ModernBertForTokenClassification,
        modernbert.ModernBertForQuestionAnswering, paper="2412.13663"),
    "t5": _family(t5.T5Config, "", "T5Model", t5.T5, t5.T5EncoderModel, t5.T5ForConditionalGeneration, paper="1910.10683"),
    "gpt2": _family(
        gpt2.GPT2Config, "transformer", "GPT2Model", gpt2.GPT2, gpt2.GPT2LMHeadModel, gpt2.GPT2ForSequenceClassification,
        gpt2.GPT2ForTokenClassification, paper="GPT-2"),
    "llama": _family(llama.LlamaConfig, "model", "LlamaModel", llama.Llama, *_LLAMA_HEADS, paper="2302.13971"),
    "mistral": _family(llama.MistralConfig, "model", "MistralModel", llama.Llama, *_LLAMA_HEADS, renamed="Mistral",
                       paper="2310.06825"),
    "qwen2": _family(llama.Qwen2Config, "model", "Qwen2Model", llama.Llama, *_LLAMA_HEADS, renamed="Qwen2", paper="2407.10671"),
}
