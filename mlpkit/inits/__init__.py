"""Initialisations, a file each."""
