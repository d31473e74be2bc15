"""The gate before a cut: what a new version does differently, and whether that may go on unattended."""
