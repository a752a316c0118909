"""Python files of the user's: plugins, and files with models."""

from __future__ import annotations

import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from tgraph.ir.errors import TGraphError


def import_file(path: Path) -> ModuleType:
    """Run a Python file as a module of its own; once a process. Its folder is searched for what it imports.

    Raises OSError if there is none, TGraphError with the line in the file that failed.
    """
    path = path.resolve()
    name = f"tgraph_user_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TGraphError(f"{path} is no Python file; expected a name that ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up while it is made
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        if isinstance(error, (OSError, TGraphError)):
            raise
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        raise TGraphError(f"{path}:{line}: {type(error).__name__}: {error}") from error
    return module
