"""Models outside mlpkit: Python objects, exported files, and the server."""
