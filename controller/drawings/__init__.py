"""Drawings of the fleet: values in, SVG out. No rows, no clock, no I/O."""
