"""Config, its sections, and the YAML that they are read from."""
