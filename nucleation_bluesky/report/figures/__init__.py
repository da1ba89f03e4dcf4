"""Figures of the report: pure functions, data in, matplotlib Figure out (no pyplot state)."""
