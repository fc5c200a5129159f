"""Run folders and sweep folders: their files, and how these are written, read and checked."""
