"""Rules, patterns and conditions that `canonicalize`, `simplify` and the fusions share."""
