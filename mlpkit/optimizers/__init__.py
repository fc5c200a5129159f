"""Optimizers, a file each: options, what is kept from step to step, and the update."""
