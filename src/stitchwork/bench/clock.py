"""A machine made quiet, and the clock that suits it."""

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

THREADS = 1
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


@contextmanager
def quiet_machine() -> Iterator[None]:
    """One thread, and an allocator that keeps what is freed (glibc only; elsewhere it stays as it is)."""
    m_trim_threshold, m_mmap_max = -1, -4
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        pass
    else:
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, 2**31 - 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def seconds(step: Callable[[], None]) -> float:
    """How long one call takes: on a GPU by the clock; on one CPU thread in that thread's own time.

    The latter is the clock's time on a machine that does nothing else, and does not count other people's work.
    """
    if not torch.cuda.is_available():
        start = time.process_time()
        step()
        return time.process_time() - start
    torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    torch.cuda.synchronize()
    return time.perf_counter() - start
