"""Which rows of padded tensors matter, and how ops look on those rows alone; `remove-padding` is built on it."""
