"""Handovers as people ask for them: plans as values, the driver that carries them out, undo and replay."""
