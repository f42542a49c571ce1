"""What the processes of a server have used: CPU seconds and memory, with all of their threads and children."""

import contextlib
import os
import time
from pathlib import Path

__all__ = ["cpu_seconds", "idle_cpu_seconds", "peak_memory", "processes", "reset_peak", "resident"]

#: Seconds in which an idle server uses less CPU than `IDLE`; and seconds after which it will never be idle.
CALM, IDLE, LONGEST = 0.03, 0.001, 3.0


def processes(pid: int) -> list[int]:
    """`pid` and what descends from it."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").iterdir():
            # A thread may end meanwhile.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                found += map(int, (task / "children").read_text().split())
    return found


def cpu_seconds(pid: int) -> float:
    """Of all threads, also those that have ended: what /proc/PID/stat says in hundredths, to the nanosecond."""
    # The clock of another process, as clock_getcpuclockid(3) makes it of its number.
    return sum(time.clock_gettime((~each << 3) | 2) for each in processes(pid))


def idle_cpu_seconds(pid: int) -> float:
    """The same, once the server has nothing more to do."""
    deadline = time.monotonic() + LONGEST
    before = cpu_seconds(pid)
    while time.monotonic() < deadline:
        time.sleep(CALM)
        now = cpu_seconds(pid)
        if now - before < IDLE:
            break
        before = now
    return now


def peak_memory(pid: int) -> int:
    """Bytes that the processes have had at most since `reset_peak`, or since they began."""
    return sum(_status(each, "VmHWM:") for each in processes(pid))


def resident(pid: int) -> int:
    """Bytes that the processes have now."""
    return sum(_status(each, "VmRSS:") for each in processes(pid))


def reset_peak(pid: int) -> None:
    for each in processes(pid):
        descriptor = os.open(f"/proc/{each}/clear_refs", os.O_WRONLY)
        try:
            os.write(descriptor, b"5")
        finally:
            os.close(descriptor)


def _status(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0
