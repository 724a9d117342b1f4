"""Write the module that calls every host function with right and wrong arguments and prints what they answer.

For each call it prints the errno and the 192 bytes that pointers may point to, wiped before: the page's end and
places outside the memory are pointed to as well.
"""

import sys
from pathlib import Path

# WASI preview 1: name, parameters by meaning: d a descriptor, p a pointer, n a length or small number, N the same
# as an i64. Those that close or renumber come last.
_FUNCTIONS = """
args_get pp
args_sizes_get pp
environ_get pp
environ_sizes_get pp
clock_res_get np
clock_time_get nNp
fd_advise dNNn
fd_allocate dNN
fd_datasync d
fd_fdstat_get dp
fd_fdstat_set_flags dn
fd_filestat_get dp
fd_filestat_set_size dN
fd_filestat_set_times dNNn
fd_pread dpnNp
fd_prestat_dir_name dpn
fd_prestat_get dp
fd_pwrite dpnNp
fd_read dpnp
fd_readdir dpnNp
fd_seek dNnp
fd_sync d
fd_tell dp
fd_write dpnp
path_create_directory dpn
path_filestat_get dnpnp
path_filestat_set_times dnpnNNn
path_link dnpndpn
path_open dnpnnNNnp
path_readlink dpnpnp
path_remove_directory dpn
path_rename dpndpn
path_symlink pndpn
path_unlink_file dpn
poll_oneoff ppnp
proc_raise n
random_get pn
sched_yield
sock_accept dnp
sock_recv dpnnpp
sock_send dpnnp
sock_shutdown dn
fd_fdstat_set_rights dNN
fd_renumber dd
fd_close d
"""

_START, _SIZE = 256, 192
_DESCRIPTORS = ["0", "1", "2", "3", "-1"]
_POINTERS = ["256", "65535", "65536", "-1"]
_LISTS = ("fd_read", "fd_write", "fd_pread", "fd_pwrite", "poll_oneoff")


def _calls(name: str, meanings: str) -> list[str]:
    """Return calls in which one argument after the other is odd, and the others are sensible."""
    sensible = {"d": "1" if "write" in name else "0", "n": "0" if name == "proc_raise" else "1", "N": "8"}
    usual = []
    pointers = 0
    for meaning in meanings:
        usual.append(sensible[meaning] if meaning != "p" else str(_START + 64 * pointers))
        pointers += meaning == "p"
    odd = {"d": _DESCRIPTORS, "p": _POINTERS, "n": ["0", "2", "1024", "1025", "-1"], "N": ["0", "-1"]}
    found = [usual]
    for position, meaning in enumerate(meanings):
        for value in odd[meaning]:
            arguments = [*usual[:position], value, *usual[position + 1 :]]
            if arguments not in found:
                found.append(arguments)
    kinds = ["i64" if meaning == "N" else "i32" for meaning in meanings]
    return [
        " ".join(f"({kind}.const {value})" for kind, value in zip(kinds, arguments, strict=True))
        for arguments in found
    ]


def module() -> str:
    """Return the module's text."""
    imports, lines = [], []
    for function in _FUNCTIONS.split("\n"):
        name, _, meanings = function.partition(" ")
        if not name:
            continue
        params = " ".join("i64" if meaning == "N" else "i32" for meaning in meanings)
        imported = f'(import "wasi_snapshot_preview1" "{name}"'
        imports.append(f"{imported} (func ${name} (param {params}) (result i32)))")
        lines += [f"(call $show (call ${name} {arguments}))" for arguments in _calls(name, meanings)]
        if name == "fd_fdstat_set_rights":
            # What is given away cannot be had back, and is missed.
            for rights in ("0x8000002", "0x8000000", "0x8000002", "0", "2"):
                lines.append(f"(call $show (call ${name} (i32.const 0) (i64.const {rights}) (i64.const 0)))")
            lines.append("(call $show (call $fd_fdstat_get (i32.const 0) (i32.const 256)))")
            lines.append(
                "(call $show (call $fd_read (i32.const 0) (i32.const 256) (i32.const 1) (i32.const 264)))"
            )
        if name == "fd_renumber":
            # Standard error takes the place of output, and writing goes there.
            lines.append("(call $show (call $fd_renumber (i32.const 2) (i32.const 0)))")
            lines.append("(call $show (call $fd_fdstat_get (i32.const 0) (i32.const 256)))")
            lines.append("(call $show (call $fd_fdstat_get (i32.const 2) (i32.const 256)))")
    # The first call's pointers are a list: one vector of three bytes.
    head = "\n  ".join(imports)
    body = "\n    ".join(lines)
    return f"""\
(module
  {head}
  (memory (export "memory") 1)
  (data (i32.const 16) "\\00\\01\\00\\00\\c4\\00\\00\\00")
  (global $stream (mut i32) (i32.const 1))
  (func $wipe (local $i i32)
    (loop $more
      (i64.store offset={_START} (local.get $i) (i64.const 0))
      (br_if $more
        (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 8))) (i32.const {_SIZE + 8}))))
    ;; A list of one vector: three bytes at 320.
    (i32.store (i32.const {_START}) (i32.const 320))
    (i32.store (i32.const {_START + 4}) (i32.const 3)))
  (func $show (param $errno i32)
    (i32.store (i32.const {_START + _SIZE}) (local.get $errno))
    (drop (call $fd_write (i32.const 1) (i32.const 16) (i32.const 1) (i32.const 24)))
    (drop (call $fd_write (i32.const 0) (i32.const 16) (i32.const 1) (i32.const 24)))
    (call $wipe))
  (func (export "_start")
    (call $wipe)
    {body}))
"""


if __name__ == "__main__":
    (Path(sys.argv[1]) / "host_calls.wat").write_text(module())
