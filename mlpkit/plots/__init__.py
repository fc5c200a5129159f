"""Pictures of runs and of sweeps."""
