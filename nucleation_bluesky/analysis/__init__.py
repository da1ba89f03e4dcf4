"""Pure functions from arrays to results."""
