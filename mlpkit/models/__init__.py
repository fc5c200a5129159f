"""Models, a file each: options and layers."""
