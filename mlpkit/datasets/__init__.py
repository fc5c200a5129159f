"""Datasets, one file each: its options, and how its rows are generated or read."""
