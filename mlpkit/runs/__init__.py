"""What lies in run folders and sweep folders."""
