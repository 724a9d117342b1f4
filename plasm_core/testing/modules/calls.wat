;; Makes the host calls that standard input asks for, so that a test can say in Python what to call.
;;
;; Standard input begins with the image of the whole memory, 131,072 bytes; the rest is the test's.
;; At 65,536 stands the script: u32 how many calls, u32 descriptor to dump to, then two vectors
;; of the whole memory, for the image and for the dump, a word for their results, and from 65,600 the calls of
;; 80 bytes each: u32 function, by the order of the imports; u32 for the errno; nine arguments, 8 bytes each.
;; At the end the whole memory is written to the descriptor.
(module
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_get" (func $environ_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_res_get" (func $clock_res_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock_time_get (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_advise" (func $fd_advise (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_allocate" (func $fd_allocate (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $fd_close (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_datasync" (func $fd_datasync (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_get" (func $fd_fdstat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_flags" (func $fd_fdstat_set_flags (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_fdstat_set_rights" (func $fd_fdstat_set_rights (param i32 i64 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_get" (func $fd_filestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_size" (func $fd_filestat_set_size (param i32 i64) (result i32)))
  (import "wasi_snapshot_preview1" "fd_filestat_set_times" (func $fd_filestat_set_times (param i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pread" (func $fd_pread (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_dir_name" (func $fd_prestat_dir_name (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_prestat_get" (func $fd_prestat_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_pwrite" (func $fd_pwrite (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_readdir" (func $fd_readdir (param i32 i32 i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_renumber" (func $fd_renumber (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_seek" (func $fd_seek (param i32 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_sync" (func $fd_sync (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_tell" (func $fd_tell (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_create_directory" (func $path_create_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_get" (func $path_filestat_get (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_filestat_set_times" (func $path_filestat_set_times (param i32 i32 i32 i32 i64 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_link" (func $path_link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open" (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_readlink" (func $path_readlink (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_remove_directory" (func $path_remove_directory (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_rename" (func $path_rename (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_symlink" (func $path_symlink (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_unlink_file" (func $path_unlink_file (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "wasi_snapshot_preview1" "proc_raise" (func $proc_raise (param i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sched_yield" (func $sched_yield (result i32)))
  (import "wasi_snapshot_preview1" "sock_accept" (func $sock_accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_recv" (func $sock_recv (param i32 i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_send" (func $sock_send (param i32 i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "sock_shutdown" (func $sock_shutdown (param i32 i32) (result i32)))
  (type $call (func (param i32)))
  (memory (export "memory") 2)
  (data (i32.const 65544) "\00\00\00\00\00\00\02\00")
  (table 46 funcref)
  (elem (i32.const 0)
    $call_args_get
    $call_args_sizes_get
    $call_environ_get
    $call_environ_sizes_get
    $call_clock_res_get
    $call_clock_time_get
    $call_fd_advise
    $call_fd_allocate
    $call_fd_close
    $call_fd_datasync
    $call_fd_fdstat_get
    $call_fd_fdstat_set_flags
    $call_fd_fdstat_set_rights
    $call_fd_filestat_get
    $call_fd_filestat_set_size
    $call_fd_filestat_set_times
    $call_fd_pread
    $call_fd_prestat_dir_name
    $call_fd_prestat_get
    $call_fd_pwrite
    $call_fd_read
    $call_fd_readdir
    $call_fd_renumber
    $call_fd_seek
    $call_fd_sync
    $call_fd_tell
    $call_fd_write
    $call_path_create_directory
    $call_path_filestat_get
    $call_path_filestat_set_times
    $call_path_link
    $call_path_open
    $call_path_readlink
    $call_path_remove_directory
    $call_path_rename
    $call_path_symlink
    $call_path_unlink_file
    $call_poll_oneoff
    $call_proc_exit
    $call_proc_raise
    $call_random_get
    $call_sched_yield
    $call_sock_accept
    $call_sock_recv
    $call_sock_send
    $call_sock_shutdown)
  (func $call_args_get (param i32) (i32.store offset=4 (local.get 0) (call $args_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_args_sizes_get (param i32) (i32.store offset=4 (local.get 0) (call $args_sizes_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_environ_get (param i32) (i32.store offset=4 (local.get 0) (call $environ_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_environ_sizes_get (param i32) (i32.store offset=4 (local.get 0) (call $environ_sizes_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_clock_res_get (param i32) (i32.store offset=4 (local.get 0) (call $clock_res_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_clock_time_get (param i32) (i32.store offset=4 (local.get 0) (call $clock_time_get (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)))))
  (func $call_fd_advise (param i32) (i32.store offset=4 (local.get 0) (call $fd_advise (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)) (i64.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)))))
  (func $call_fd_allocate (param i32) (i32.store offset=4 (local.get 0) (call $fd_allocate (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)) (i64.load offset=24 (local.get 0)))))
  (func $call_fd_close (param i32) (i32.store offset=4 (local.get 0) (call $fd_close (i32.load offset=8 (local.get 0)))))
  (func $call_fd_datasync (param i32) (i32.store offset=4 (local.get 0) (call $fd_datasync (i32.load offset=8 (local.get 0)))))
  (func $call_fd_fdstat_get (param i32) (i32.store offset=4 (local.get 0) (call $fd_fdstat_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_fd_fdstat_set_flags (param i32) (i32.store offset=4 (local.get 0) (call $fd_fdstat_set_flags (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_fd_fdstat_set_rights (param i32) (i32.store offset=4 (local.get 0) (call $fd_fdstat_set_rights (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)) (i64.load offset=24 (local.get 0)))))
  (func $call_fd_filestat_get (param i32) (i32.store offset=4 (local.get 0) (call $fd_filestat_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_fd_filestat_set_size (param i32) (i32.store offset=4 (local.get 0) (call $fd_filestat_set_size (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)))))
  (func $call_fd_filestat_set_times (param i32) (i32.store offset=4 (local.get 0) (call $fd_filestat_set_times (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)) (i64.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)))))
  (func $call_fd_pread (param i32) (i32.store offset=4 (local.get 0) (call $fd_pread (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i64.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)))))
  (func $call_fd_prestat_dir_name (param i32) (i32.store offset=4 (local.get 0) (call $fd_prestat_dir_name (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)))))
  (func $call_fd_prestat_get (param i32) (i32.store offset=4 (local.get 0) (call $fd_prestat_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_fd_pwrite (param i32) (i32.store offset=4 (local.get 0) (call $fd_pwrite (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i64.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)))))
  (func $call_fd_read (param i32) (i32.store offset=4 (local.get 0) (call $fd_read (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)))))
  (func $call_fd_readdir (param i32) (i32.store offset=4 (local.get 0) (call $fd_readdir (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i64.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)))))
  (func $call_fd_renumber (param i32) (i32.store offset=4 (local.get 0) (call $fd_renumber (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_fd_seek (param i32) (i32.store offset=4 (local.get 0) (call $fd_seek (i32.load offset=8 (local.get 0)) (i64.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)))))
  (func $call_fd_sync (param i32) (i32.store offset=4 (local.get 0) (call $fd_sync (i32.load offset=8 (local.get 0)))))
  (func $call_fd_tell (param i32) (i32.store offset=4 (local.get 0) (call $fd_tell (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_fd_write (param i32) (i32.store offset=4 (local.get 0) (call $fd_write (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)))))
  (func $call_path_create_directory (param i32) (i32.store offset=4 (local.get 0) (call $path_create_directory (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)))))
  (func $call_path_filestat_get (param i32) (i32.store offset=4 (local.get 0) (call $path_filestat_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)))))
  (func $call_path_filestat_set_times (param i32) (i32.store offset=4 (local.get 0) (call $path_filestat_set_times (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i64.load offset=40 (local.get 0)) (i64.load offset=48 (local.get 0)) (i32.load offset=56 (local.get 0)))))
  (func $call_path_link (param i32) (i32.store offset=4 (local.get 0) (call $path_link (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)) (i32.load offset=48 (local.get 0)) (i32.load offset=56 (local.get 0)))))
  (func $call_path_open (param i32) (i32.store offset=4 (local.get 0) (call $path_open (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)) (i64.load offset=48 (local.get 0)) (i64.load offset=56 (local.get 0)) (i32.load offset=64 (local.get 0)) (i32.load offset=72 (local.get 0)))))
  (func $call_path_readlink (param i32) (i32.store offset=4 (local.get 0) (call $path_readlink (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)) (i32.load offset=48 (local.get 0)))))
  (func $call_path_remove_directory (param i32) (i32.store offset=4 (local.get 0) (call $path_remove_directory (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)))))
  (func $call_path_rename (param i32) (i32.store offset=4 (local.get 0) (call $path_rename (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)) (i32.load offset=48 (local.get 0)))))
  (func $call_path_symlink (param i32) (i32.store offset=4 (local.get 0) (call $path_symlink (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)))))
  (func $call_path_unlink_file (param i32) (i32.store offset=4 (local.get 0) (call $path_unlink_file (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)))))
  (func $call_poll_oneoff (param i32) (i32.store offset=4 (local.get 0) (call $poll_oneoff (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)))))
  (func $call_proc_exit (param i32) (call $proc_exit (i32.load offset=8 (local.get 0))))
  (func $call_proc_raise (param i32) (i32.store offset=4 (local.get 0) (call $proc_raise (i32.load offset=8 (local.get 0)))))
  (func $call_random_get (param i32) (i32.store offset=4 (local.get 0) (call $random_get (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func $call_sched_yield (param i32) (i32.store offset=4 (local.get 0) (call $sched_yield)))
  (func $call_sock_accept (param i32) (i32.store offset=4 (local.get 0) (call $sock_accept (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)))))
  (func $call_sock_recv (param i32) (i32.store offset=4 (local.get 0) (call $sock_recv (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)) (i32.load offset=48 (local.get 0)))))
  (func $call_sock_send (param i32) (i32.store offset=4 (local.get 0) (call $sock_send (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)) (i32.load offset=24 (local.get 0)) (i32.load offset=32 (local.get 0)) (i32.load offset=40 (local.get 0)))))
  (func $call_sock_shutdown (param i32) (i32.store offset=4 (local.get 0) (call $sock_shutdown (i32.load offset=8 (local.get 0)) (i32.load offset=16 (local.get 0)))))
  (func (export "_start") (local $at i32)
    (drop (call $fd_read (i32.const 0) (i32.const 65544) (i32.const 1) (i32.const 65560)))
    (local.set $at (i32.const 65600))
    loop $next
      (if (i32.load (i32.const 65536))
        (then
          (call_indirect (type $call) (local.get $at) (i32.load (local.get $at)))
          (local.set $at (i32.add (local.get $at) (i32.const 80)))
          (i32.store (i32.const 65536) (i32.sub (i32.load (i32.const 65536)) (i32.const 1)))
          (br $next)))
    end
    (drop (call $fd_write (i32.load (i32.const 65540)) (i32.const 65552) (i32.const 1) (i32.const 65560)))))
