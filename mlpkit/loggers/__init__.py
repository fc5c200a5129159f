"""Loggers, a file each: they get the scores of a run while it trains."""
