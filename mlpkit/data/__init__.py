"""Data: what a dataset is, how each is made, and the files that rows are read from."""
