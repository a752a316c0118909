"""Finding out which padded rows matter, and computing on the others alone; `remove-padding` is built on it."""
