"""Names and numbers of `wasi_snapshot_preview1` (WASI legacy preview 1, witx)."""

from __future__ import annotations

BADF, FAULT, INVAL, NOSYS, NOTDIR, NOTSOCK, NOTSUP, SPIPE, NOTCAPABLE = 8, 21, 28, 52, 54, 57, 58, 70, 76

RIGHT_FD_READ = 1 << 1
RIGHT_FD_WRITE = 1 << 6
RIGHT_POLL = 1 << 27

CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS, CLOCK_THREAD = range(4)

EVENT_CLOCK, EVENT_FD_READ, EVENT_FD_WRITE = range(3)
CLOCK_ABSOLUTE = 1
HANGUP = 1

# Name → parameter types, 'i' an i32 and 'I' an i64. All but proc_exit return an i32, the errno.
_PARAMS = """
args_get ii
args_sizes_get ii
environ_get ii
environ_sizes_get ii
clock_res_get ii
clock_time_get iIi
fd_advise iIIi
fd_allocate iII
fd_close i
fd_datasync i
fd_fdstat_get ii
fd_fdstat_set_flags ii
fd_fdstat_set_rights iII
fd_filestat_get ii
fd_filestat_set_size iI
fd_filestat_set_times iIIi
fd_pread iiiIi
fd_prestat_dir_name iii
fd_prestat_get ii
fd_pwrite iiiIi
fd_read iiii
fd_readdir iiiIi
fd_renumber ii
fd_seek iIii
fd_sync i
fd_tell ii
fd_write iiii
path_create_directory iii
path_filestat_get iiiii
path_filestat_set_times iiiiIIi
path_link iiiiiii
path_open iiiiiIIii
path_readlink iiiiii
path_remove_directory iii
path_rename iiiiii
path_symlink iiiii
path_unlink_file iii
poll_oneoff iiii
proc_exit i
proc_raise i
random_get ii
sched_yield
sock_accept iii
sock_recv iiiiii
sock_send iiiii
sock_shutdown ii
"""

FUNCTIONS: dict[str, tuple[str, str]] = {}
"""Each function's parameter and result types."""
for _line in _PARAMS.split("\n"):
    if _line:
        _name, _, _types = _line.partition(" ")
        FUNCTIONS[_name] = (_types, "" if _name == "proc_exit" else "i")
