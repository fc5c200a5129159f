"""Access to the operating system: files, locks, streams, terminal, cores, devices."""
