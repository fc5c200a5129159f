"""Training: the loop over runs, what follows their scores, and what records each of them."""
