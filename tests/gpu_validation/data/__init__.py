"""Data sets and their mini-batches."""
