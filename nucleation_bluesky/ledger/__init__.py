"""Exposures of sites, and the guard that claims them."""
