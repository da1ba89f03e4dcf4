"""Bluesky plans and plan stubs."""
