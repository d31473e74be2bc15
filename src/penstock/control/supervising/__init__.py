"""Keeps the flows of one environment as they are wished: starts, watches, restarts and adopts their processes."""
