"""Pictures of attention: heat maps, alignments of translations, and a page in which one clicks through layers and heads.

Also what pictures of profiles and memory are drawn with: rooflines, flame graphs, rectangles of an arena. Heat maps and rooflines
need matplotlib (`pip install tgraph-compiler[plot]`), which is imported when one is drawn; the others need nothing.
"""

from .heads import heads
from .heatmaps import alignment, attention

__all__ = ["alignment", "attention", "heads"]
