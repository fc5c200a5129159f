"""Losses, one file each: the options, the loss per example and its gradient by hand."""
