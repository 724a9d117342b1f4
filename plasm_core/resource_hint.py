"""Hints for exhausted resources of the system."""

from __future__ import annotations

import errno
import os


def process_hint(error: OSError) -> str | None:
    """Return a hint if an error of fork(2) says what there is too little of; None for any other error."""
    if error.errno == errno.EAGAIN:
        return (
            "raise the limit of processes: TasksMax of the service, pids.max of the control group "
            "(docker run --pids-limit), or ulimit -u"
        )
    return resource_hint(error)


def resource_hint(error: OSError) -> str | None:
    """Return a hint if an error says that a resource of the system is used up; None for any other error."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files, as with: ulimit -n 4096"
    if error.errno == errno.ENOSPC:
        return "make room, or write elsewhere"
    # and not by a limit of this program
    if error.errno == errno.EFBIG and error.strerror == os.strerror(errno.EFBIG):
        return "raise the limit of the size of files, as with: ulimit -f unlimited"
    return None
