"""Activations; those of torch are in one file, since each is two lines."""
