"""What writes the scores of a run."""
