"""What a job is, and what it can become: all transitions there are.

::

    running ⇄ paused            held at the gate, with or without a task
       ⇅          ⇅
    interrupted                 a resumable upload without a task; its bytes are kept
    running → finishing         the point of no return: nobody can stop it any more (G2); but what the storage could
              │                 not do then, a resumable upload may try again, interrupted
              completed | failed   and from every state before finishing: terminated | failed
"""

from enum import StrEnum

__all__ = ["IllegalTransition", "Kind", "State", "check_transition"]


class Kind(StrEnum):
    UPLOAD = "upload"  #: bytes in
    EXPORT = "export"  #: bytes out


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    INTERRUPTED = "interrupted"
    FINISHING = "finishing"
    COMPLETED = "completed"
    TERMINATED = "terminated"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return not _NEXT[self]

    @property
    def stoppable(self) -> bool:
        """True before the point of no return."""
        return State.TERMINATED in _NEXT[self]


_NEXT: dict[State, frozenset[State]] = {
    State.RUNNING: frozenset({State.PAUSED, State.INTERRUPTED, State.FINISHING, State.TERMINATED, State.FAILED}),
    State.PAUSED: frozenset({State.RUNNING, State.INTERRUPTED, State.TERMINATED, State.FAILED}),
    State.INTERRUPTED: frozenset({State.RUNNING, State.PAUSED, State.TERMINATED, State.FAILED}),
    State.FINISHING: frozenset({State.COMPLETED, State.FAILED, State.INTERRUPTED}),
    State.COMPLETED: frozenset(),
    State.TERMINATED: frozenset(),
    State.FAILED: frozenset(),
}


class IllegalTransition(RuntimeError):
    """A bug of ours: a transition that the table does not have."""


def check_transition(state: State, to: State) -> None:
    """Raise IllegalTransition if `state` cannot become `to`."""
    if to not in _NEXT[state]:
        raise IllegalTransition(f"A job that is {state} cannot become {to}.")
