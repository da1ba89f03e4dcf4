"""Backends of the controller front end."""
