"""What a model's folder says of generation: where to stop, and what a target begins with."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ir.errors import FormatError
from ..ir.json_text import json_object


@dataclass(frozen=True)
class GenerationConfig:
    """stop: the tokens at which a text ends; start: the first token of a target, for encoder-decoder models."""

    stop: tuple[int, ...]
    start: int | None

    @classmethod
    def of(cls, folder: str | os.PathLike[str]) -> GenerationConfig:
        """Read generation_config.json, and config.json for what that leaves out. Raises FormatError."""
        values: dict[str, Any] = {}
        for name in ("config.json", "generation_config.json"):
            file = Path(folder) / name
            if file.exists():
                values.update({key: value for key, value in json_object(file).items() if value is not None})
        stop, start = values.get("eos_token_id", []), values.get("decoder_start_token_id")
        stops = tuple(stop) if isinstance(stop, list) else (stop,)
        if not all(isinstance(token, int) for token in (*stops, *(() if start is None else (start,)))):
            raise FormatError(f"{folder}: eos_token_id and decoder_start_token_id are tokens, got {stop!r} and {start!r}")
        return cls(stops, start)
