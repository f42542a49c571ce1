"""The rates that many jobs keep together: that of each owner, and that of all.

Each is a `Throttle` which the gates of its jobs join. Where several nodes keep one rate together, each is handed a
share of it (`set_share`).
"""

from headgate.jobs.rates.gate import Gate
from headgate.jobs.rates.throttle import Throttle

__all__ = ["SharedRates"]


class SharedRates:
    """`owner_rate`, `total_rate`: bytes per second that the jobs of one owner, and of all, may move; None: no limit."""

    def __init__(self, owner_rate: int | None, total_rate: int | None) -> None:
        self._owner_rate = owner_rate
        self._total_rate = total_rate
        self._by_owner: dict[str, Throttle] = {}
        self._shares: dict[str, float] = {}
        self._total = None if total_rate is None else Throttle(total_rate)

    def join(self, gate: Gate, owner: str) -> None:
        """Have `gate`, of a job of `owner`, keep the rates with the others."""
        if self._owner_rate is not None:
            throttle = self._by_owner.get(owner)
            if throttle is None:
                rate = _part(self._owner_rate, self._shares.get(owner, 1.0))
                throttle = self._by_owner[owner] = Throttle(rate)
            gate.join(throttle)
        if self._total is not None:
            gate.join(self._total)

    def forget(self, owner: str) -> None:
        """No job of `owner` lives any more."""
        self._by_owner.pop(owner, None)
        self._shares.pop(owner, None)

    def set_share(self, share: float, owner: str | None = None) -> None:
        """Let this process move `share` (above 0, up to 1) of the rate of `owner`; for None, of that of all."""
        if owner is None:
            if self._total is not None and self._total_rate is not None:
                self._total.set_rate(_part(self._total_rate, share))
        elif self._owner_rate is not None:
            self._shares[owner] = share
            if owner in self._by_owner:
                self._by_owner[owner].set_rate(_part(self._owner_rate, share))


def _part(rate: int, share: float) -> int:
    return max(1, int(rate * share))
