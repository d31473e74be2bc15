"""Handovers over a pretended machine."""
