"""The pieces of spelling that `canonicalize`, `simplify` and the fusions share."""
