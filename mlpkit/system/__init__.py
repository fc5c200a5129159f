"""The machine and the process: cores, devices, streams, terminal."""
