"""Losses, a file each: options, the loss of each row, and its gradient by hand."""
