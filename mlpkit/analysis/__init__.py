"""What trained models say, and how runs compare."""
