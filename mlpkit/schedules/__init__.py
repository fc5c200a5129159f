"""Learning-rate schedules, a file each, named after torch's classes."""
