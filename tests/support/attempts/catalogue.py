"""All the attempts, by name."""

from __future__ import annotations

import os

from tests.support.attempts import files, memory, network, privileges, processes
from tests.support.attempts.memory import ALLOWED
from tests.support.attempts.questions import QUESTIONS
from tests.support.attempts.trying import ATTEMPTS, Action, Results, Whereabouts, try_action

__all__ = ["ALLOWED", "ATTEMPTS", "EARLY", "action_named", "attempts_here"]

MODULES = (files, network, processes, privileges, memory)
"""Importing them puts their attempts on the list."""


def action_named(name: str) -> Action:
    """Return an attempt or a question."""
    if name in QUESTIONS:
        return QUESTIONS[name]
    return {**ATTEMPTS, **ALLOWED}[name].action


_BEFORE_THERE_IS_A_GUEST = (
    "open_",
    "create_",
    "list_",
    "make_directory",
    "make_symbolic_link",
    "socket_",
    "run_a_program",
    "fork",
    "clone",
    "vfork",
    "kill_",
    "tgkill_",
    "ptrace_",
    "process_vm_",
    "pidfd_open_",
    "unshare_",
    "mount",
    "chroot",
    "setuid",
    "become_dumpable",
    "io_uring",
    "bpf",
    "perf_events",
    "keyring",
)
EARLY = tuple(
    name
    for name in ATTEMPTS
    if name.startswith(_BEFORE_THERE_IS_A_GUEST) and name not in ("clone_as_the_zygote_does", "socket_pair")
)
"""What the processes that validate, compile and load a module must not be able to do either."""


def attempts_here(names: tuple[str, ...]) -> Results:
    """Make attempts in this process, aimed at its parent."""
    parent = os.getppid()
    return {name: try_action(action_named(name), Whereabouts(parent, parent)) for name in names}
