"""Training: the loop over K runs, their trackers, recorders and checkpoints."""
