"""Processes really killed, at every named point in the life of an epoch and at random."""
