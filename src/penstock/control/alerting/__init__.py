"""Alerts of one environment: its rules and routes, looking, keeping, telling."""
