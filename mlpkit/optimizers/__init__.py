"""Optimizers, one file each: options, state and update."""
