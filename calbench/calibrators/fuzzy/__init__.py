"""Calibrators that mix temperatures by fuzzy rules."""
