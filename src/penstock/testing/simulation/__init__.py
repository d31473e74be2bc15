"""A whole flow in one thread, driven by a seed: processes that are killed and frozen, deploys, undos, broken disks."""
