"""Plain PyTorch definitions, as the papers and the published code have them: the oracle of every faster version."""
