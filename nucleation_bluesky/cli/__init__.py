"""Command line."""

from nucleation_bluesky.cli.app import main

__all__ = ["main"]
