"""What lives in one process alone: its code is mapped there, its memory is there."""

from __future__ import annotations

from typing import Any, NoReturn

from tgraph.ir.errors import TargetError


class OfProcess:
    """Base of classes whose objects cannot be pickled or copied; it says what to do instead."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TargetError(f"{self!r} belongs to its process; save what was compiled (exe.save(path)), and let the other process "
                          "load it (tg.load(path))")
