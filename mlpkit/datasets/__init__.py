"""Datasets, a file each: options, and how their rows are computed or read."""
