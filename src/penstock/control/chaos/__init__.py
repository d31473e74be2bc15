"""Chaos: an author's own flow, run in a throwaway place, killed, frozen and broken at every point, and compared.

`Script` says what runs where; `victim` is the process that is killed, `Nursery` makes it; `phases` lists what is done
to it, `acts` does it; `Remains` is what a run left, and is compared with what the uninterrupted run left.
"""
