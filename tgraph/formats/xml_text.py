"""Text in XML documents."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0


def xml_text(text: str) -> str:
    """Text with XML's special characters escaped; characters that XML does not allow become U+FFFD."""
    return escape(_ILLEGAL.sub("\ufffd", text))
