"""Optimizers and learning-rate schedules, one file each; schedules are named after torch's classes."""
