"""Learning-rate schedules, one file each, named after torch's classes."""
