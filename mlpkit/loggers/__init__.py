"""Loggers, one file each: they receive a run's scores, plots and settings."""
