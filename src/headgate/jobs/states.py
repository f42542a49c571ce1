"""What a job is, and what it can become: all transitions there are.

::

    running ⇄ paused            no byte passes the gate, with or without a task
       ⇅          ⇅
    interrupted                 a resumable upload that no task runs; its bytes are kept
    running → finishing         the point of no return: the job cannot be stopped any more (G2); where the storage then
              │                 fails, a resumable upload becomes interrupted, and may be tried again
              completed | failed   and from every state before finishing: terminated | failed

Beside its state a job has a *task* (the one that runs it now) and a *cause* (why it is being stopped). Those jobs that
outlive their tasks (`ResumableJob`) also have *all_received* (every byte is there, so that the job is published even
while the server drains). If the upload cannot be removed when it is stopped, the storage's error (`stop_error`) takes
the cause back, and those who wait for the end are told. These combinations exist:

============  ==========  =====================  ============  ==================================================
state         task        cause                  all_received  who moves the job on
============  ==========  =====================  ============  ==================================================
running       one         None                   no            its task (`finish`); `pause`; `stop`
running       one         set                    no            its task, which leaves: terminated or failed, or, of a
                                                               resumable job with a cause that is not final,
                                                               interrupted
paused        one         None or set            no            `resume`; otherwise as running
paused        none        None or final          yes or no     resumable only: `resume`; otherwise as interrupted
interrupted   none        None                   no            resumable only: the next request that attaches its task
interrupted   none        None                   yes           resumable only: the task that publishes it attaches
interrupted   one         None or set            yes or no     resumable only: a task that attached and has yet to
                                                               `restart`; otherwise as running
interrupted   none        final                  yes or no     resumable only: the task that removes its bytes, then
                                                               terminated or failed; a stop_error goes to everybody who
                                                               waits for the end, and takes the cause back
finishing     one         None                   no            its task: completed, failed, or interrupted (resumable)
ended         none        None                   no            no one: only its JobInfo is remembered
============  ==========  =====================  ============  ==================================================
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
        """True where no transition leads out of the state."""
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
    """A fault of the program: it asked for a transition that does not exist."""


def check_transition(state: State, to: State) -> None:
    """Raise IllegalTransition if a job in `state` cannot become `to`."""
    if to not in _NEXT[state]:
        raise IllegalTransition(f"A job that is {state} cannot become {to}.")
