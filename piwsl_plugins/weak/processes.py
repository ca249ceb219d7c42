"""Processes that work side by side, each on one thread, and end with the one that began them."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import active_children, connection, parent_process

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def cores() -> int:
    """Cores that this process may use, where the system tells; else all there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that begin inside use one thread each, and are ended where there is an error."""
    before = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))
    others = set(active_children())
    try:
        yield
    except BaseException:
        for process in active_children():
            if process not in others:  # nobody waits for calculations that go on
                process.terminate()
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def begin_process() -> None:
    """What a process does before its work: quiet, and never longer there than its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process tells of an interruption
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.stdout.flush()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what libraries print of each calculation
    warnings.simplefilter("ignore")  # a library's, about what is looked at afterwards


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
