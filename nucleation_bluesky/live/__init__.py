"""Watching a run from outside: everything here follows the journals, in a process of its own.

The RunEngine knows nothing of it, so a display costs its thread nothing and cannot hurt a run.
"""
