"""Compiled loops; imported where they are used, since numba takes a second to load."""
