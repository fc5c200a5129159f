"""The config schema, the registry of choices, and the YAML files."""
