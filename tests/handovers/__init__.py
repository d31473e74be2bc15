"""Handovers in real processes, and all that may befall them: kills, freezes, full disks, bad versions, in pairs too."""
