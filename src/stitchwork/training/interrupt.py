"""Ctrl-C between two steps, never inside one."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from stitchwork.training.history import History


class TrainingInterrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C or by SIGTERM, after a whole step.

    Attributes:
        history: the epochs that were finished.
    """

    def __init__(self, message: str, history: History):
        super().__init__(message)
        self.history = history


class StopFlag:
    """Whether somebody asked to stop."""

    raised = False


@contextmanager
def deferred_interrupt() -> Iterator[StopFlag]:
    """Note the first Ctrl-C (or SIGTERM, which clusters send before they take a machine back) instead of raising it.

    A second one has its usual effect at once. Outside the main thread, where Python has no signal handlers, nothing
    changes.
    """
    flag = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore():
        for number, handler in usual.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def note(number, frame):
        flag.raised = True
        restore()

    for number in usual:
        signal.signal(number, note)
    try:
        yield flag
    finally:
        restore()
