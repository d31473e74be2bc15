"""Faults of the world around a flow: full disks, damaged files, systems that go away, frozen processes, garbage."""
