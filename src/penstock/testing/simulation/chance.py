"""What a seed decides: which faults a run has, how often, and when."""

from __future__ import annotations

from dataclasses import dataclass

from penstock.clock import Random, seeded

__all__ = ["Chance", "Killed", "Rates"]

HANDOVER_TIMES = 12
"""So many times as often as elsewhere something happens in a takeover, which is short."""


class Killed(BaseException):
    """Stands for `kill -9`: nothing catches it, and the process that meets it does nothing any more."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How often something happens, as a share of the occasions; 0: not in this run.

    `kill`, `freeze`: at a point of a process. `answer`, `refusal`: at a call of the ledger or a sink, after and before
    it was done. `full`, `torn`: when a file is written. At a step of the world, `damage`: a file goes bad; `jump`: the
    clock is set; `outage`: a sink goes away; `loss`: a source forgets what it must not; `people`: somebody does
    something.
    """

    kill: float = 0.0
    freeze: float = 0.0
    answer: float = 0.0
    refusal: float = 0.0
    full: float = 0.0
    torn: float = 0.0
    damage: float = 0.0
    jump: float = 0.0
    outage: float = 0.0
    loss: float = 0.0
    people: float = 0.0

    @classmethod
    def drawn(cls, chance: Random) -> Rates:
        """Some kinds of faults and not others: two that always come together hide what each does alone."""

        def some(share: float, *rates: float) -> float:
            return chance.choice(rates) if chance.random() < share else 0.0

        return cls(
            kill=some(0.6, 1 / 150, 1 / 500, 1 / 1500),
            freeze=some(0.6, 1 / 100, 1 / 400),
            answer=some(0.35, 1 / 60, 1 / 300),
            refusal=some(0.35, 1 / 60, 1 / 300),
            full=some(0.25, 1 / 8, 1 / 30),
            torn=some(0.25, 1 / 10, 1 / 30),
            damage=some(0.2, 1 / 30, 1 / 80),
            jump=some(0.3, 1 / 15, 1 / 60),
            outage=some(0.3, 1 / 25, 1 / 80),
            loss=some(0.12, 1 / 40),
            people=some(0.9, 1 / 4, 1 / 10, 1 / 25),
        )


class Chance:
    """Draws everything that a run does not decide itself. The same seed draws the same."""

    def __init__(self, seed: int, rates: Rates | None = None) -> None:
        self.random = seeded(seed)
        self.ids = seeded(seed ^ 0x5EED)
        self.rates = Rates.drawn(self.random) if rates is None else rates

    def happens(self, rate: float, times: float = 1.0) -> bool:
        """Whether something with this rate happens now. Draws nothing where it never does."""
        return rate > 0 and self.random.random() < rate * times

    def calm(self) -> None:
        """From now on nothing goes wrong."""
        self.rates = Rates()
