"""The passes, each in a file of its own name: `fuse-qkv` on the command line is `FuseQKV` in `fuse_qkv.py`."""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):  # each registers its pass
    importlib.import_module(f"{__name__}.{_module.name}")
