"""Subscribers of the RunEngine: journal, table, map, progress."""
