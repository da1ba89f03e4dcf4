"""Nanoscale electrochemical nucleation experiments on Bluesky, ophyd and Tiled."""
