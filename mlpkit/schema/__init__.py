"""The sections of a config, a file each; `mlpkit.config` puts them together."""
