"""The NumPy reference: an interpreter that defines what graphs mean, the comparison of graphs with it and with each other, and
the values inside of them."""

from .accuracy import Accuracy, AccuracyReport, accuracy
from .checker import ProgramReport, Report, check
from .comparison import ComparisonReport, compare_graphs
from .inputs import choose_sizes, generate_inputs
from .interpreter import Interpreter, run
from .node_values import Values, values
from .nonfinite import NonfiniteReport, trace_nonfinite
from .special import Special, special_inputs
from .statistics import Statistics
from .tolerance import TOLERANCES, compare

__all__ = ["TOLERANCES", "Accuracy", "AccuracyReport", "ComparisonReport", "Interpreter", "NonfiniteReport", "ProgramReport",
           "Report", "Special", "Statistics", "Values", "accuracy", "check", "choose_sizes", "compare", "compare_graphs",
           "generate_inputs", "run", "special_inputs", "trace_nonfinite", "values"]
