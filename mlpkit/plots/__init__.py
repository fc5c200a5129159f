"""Plots of runs and of sweeps, drawn with matplotlib."""
