"""Files that are written whole, locked, or read with care."""
