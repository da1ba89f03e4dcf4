"""Courier, embedded Tiled server, reading runs, writing results, ingest."""
