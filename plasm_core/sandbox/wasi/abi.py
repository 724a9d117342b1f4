"""Names and numbers of `wasi_snapshot_preview1` (WASI legacy preview 1, witx)."""

from __future__ import annotations


class Errno(Exception):
    """An error that a host function answers. `code` is its number."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


BADF, FAULT, INVAL, NOSYS, NOTDIR, NOTSOCK, NOTSUP, SPIPE, NOTCAPABLE = 8, 21, 28, 52, 54, 57, 58, 70, 76
BUSY, EXIST, ILSEQ, ISDIR, LOOP, NAMETOOLONG, NFILE, NOENT, NOSPC, NOTEMPTY = (
    10,
    20,
    25,
    31,
    32,
    37,
    41,
    44,
    51,
    55,
)
PERM, ROFS, XDEV = 63, 69, 75

RIGHT_FD_DATASYNC = 1 << 0
RIGHT_FD_READ = 1 << 1
RIGHT_FD_SEEK = 1 << 2
RIGHT_FD_FDSTAT_SET_FLAGS = 1 << 3
RIGHT_FD_SYNC = 1 << 4
RIGHT_FD_TELL = 1 << 5
RIGHT_FD_WRITE = 1 << 6
RIGHT_FD_ADVISE = 1 << 7
RIGHT_FD_ALLOCATE = 1 << 8
RIGHT_PATH_CREATE_DIRECTORY = 1 << 9
RIGHT_PATH_CREATE_FILE = 1 << 10
RIGHT_PATH_LINK_SOURCE = 1 << 11
RIGHT_PATH_LINK_TARGET = 1 << 12
RIGHT_PATH_OPEN = 1 << 13
RIGHT_FD_READDIR = 1 << 14
RIGHT_PATH_READLINK = 1 << 15
RIGHT_PATH_RENAME_SOURCE = 1 << 16
RIGHT_PATH_RENAME_TARGET = 1 << 17
RIGHT_PATH_FILESTAT_GET = 1 << 18
RIGHT_PATH_FILESTAT_SET_SIZE = 1 << 19
RIGHT_PATH_FILESTAT_SET_TIMES = 1 << 20
RIGHT_FD_FILESTAT_GET = 1 << 21
RIGHT_FD_FILESTAT_SET_SIZE = 1 << 22
RIGHT_FD_FILESTAT_SET_TIMES = 1 << 23
RIGHT_PATH_SYMLINK = 1 << 24
RIGHT_PATH_REMOVE_DIRECTORY = 1 << 25
RIGHT_PATH_UNLINK_FILE = 1 << 26
RIGHT_POLL = 1 << 27

DIRECTORY_RIGHTS = 0x07BF_FE19
"""What can be done with a directory: each right of a path, readdir, filestat, sync, and flags."""
FILE_RIGHTS = 0x08E0_01FF
"""What can be done with a file: each right of a descriptor but readdir."""

LOOKUP_FOLLOW = 1
OPEN_CREATE, OPEN_DIRECTORY, OPEN_EXCLUSIVE, OPEN_TRUNCATE = 1, 2, 4, 8
FLAG_APPEND, ALL_FLAGS = 1, 31
SET_ATIM, SET_ATIM_NOW, SET_MTIM, SET_MTIM_NOW = 1, 2, 4, 8
WHENCE_SET, WHENCE_CURRENT, WHENCE_END = range(3)
LAST_ADVICE = 5

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
