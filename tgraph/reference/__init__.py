"""The NumPy reference: an interpreter that defines what graphs mean, and the comparison of compiled graphs with it."""

from .accuracy import Accuracy, AccuracyReport, accuracy
from .checker import ProgramReport, Report, check
from .inputs import choose_sizes, generate_inputs
from .interpreter import Interpreter, run
from .special import Special, special_inputs
from .tolerance import TOLERANCES, compare

__all__ = ["TOLERANCES", "Accuracy", "AccuracyReport", "Interpreter", "ProgramReport", "Report", "Special", "accuracy", "check",
           "choose_sizes", "compare", "generate_inputs", "run", "special_inputs"]
