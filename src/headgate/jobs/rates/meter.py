"""How many bytes moved, and how fast. Costs two additions and a comparison a chunk; reads no clock of its own."""

__all__ = ["Meter"]

#: Seconds over which a rate is measured: long enough to be steady, short enough to show what happens now.
RATE_WINDOW_SECONDS = 1.0


class Meter:
    """Bytes in total and per second. All times are seconds of one monotonic clock."""

    __slots__ = ("_rate", "_since", "_window", "last", "total")

    def __init__(self, now: float) -> None:
        self.total = 0
        #: When a byte last moved.
        self.last = now
        self._since = now  # the open window began
        self._window = 0  # bytes in it
        self._rate: float | None = None  # of the window before it

    def add(self, size: int, now: float) -> None:
        self.total += size
        self._window += size
        self.last = now
        if now - self._since >= RATE_WINDOW_SECONDS:
            self._rate = self._window / (now - self._since)
            self._since = now
            self._window = 0

    def restart(self, now: float) -> None:
        """The job has been paused or interrupted until `now`: measure its rate anew."""
        self._since, self._window, self._rate = now, 0, None

    def rate(self, now: float) -> float:
        """Bytes per second over the last full window.

        Over the open one while it is the first, and when it has grown older than a window: a stall shows as a falling
        rate.
        """
        age = now - self._since
        if self._rate is None or age > RATE_WINDOW_SECONDS:
            return self._window / age if age > 0 else 0.0
        return self._rate
