"""Ophyd devices."""
