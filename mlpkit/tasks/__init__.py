"""The tasks: what follows from the kind of target, and their scores."""
