"""Executables: engines that call a library, outputs, bundles, the compile cache, profiles."""
