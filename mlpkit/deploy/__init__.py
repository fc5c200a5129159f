"""Models outside mlpkit: exported files, and the server."""
