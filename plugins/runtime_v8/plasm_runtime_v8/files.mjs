/**
 * The files of a job under plasm.det/v2 in JavaScript, without dependencies: for V8 beside Python, and for browsers.
 *
 * Written from docs/files.md, so that it and the Python host check each other. A tree is in memory and a function of
 * the job alone. Each call is charged before it works; what fails has changed nothing.
 */

import {
  BADF, Errno, INVAL, NOTCAPABLE, NOTDIR, NOTSOCK, RIGHT_FD_READ, RIGHT_FD_WRITE, RIGHT_POLL,
} from "./wasi.mjs";

const BUSY = 10, EXIST = 20, ILSEQ = 25, ISDIR = 31, LOOP = 32, NAMETOOLONG = 37, NFILE = 41, NOENT = 44, NOSPC = 51;
const NOTEMPTY = 55, PERM = 63, ROFS = 69, XDEV = 75;
const DIRECTORY = 3, FILE = 4, LINK = 7;
const DIRECTORY_RIGHTS = 0x07bffe19n, FILE_RIGHTS = 0x08e001ffn, ALL_RIGHTS = DIRECTORY_RIGHTS | FILE_RIGHTS;
const right = (bit) => 1n << BigInt(bit);
const RIGHT_DATASYNC = right(0), RIGHT_SEEK = right(2), RIGHT_SET_FLAGS = right(3), RIGHT_SYNC = right(4);
const RIGHT_TELL = right(5), RIGHT_ADVISE = right(7), RIGHT_ALLOCATE = right(8), RIGHT_CREATE_DIRECTORY = right(9);
const RIGHT_CREATE_FILE = right(10), RIGHT_LINK_SOURCE = right(11), RIGHT_LINK_TARGET = right(12);
const RIGHT_OPEN = right(13), RIGHT_READDIR = right(14), RIGHT_READLINK = right(15), RIGHT_RENAME_SOURCE = right(16);
const RIGHT_RENAME_TARGET = right(17), RIGHT_PATH_STAT = right(18), RIGHT_PATH_SET_SIZE = right(19);
const RIGHT_PATH_SET_TIMES = right(20), RIGHT_STAT = right(21), RIGHT_SET_SIZE = right(22), RIGHT_SET_TIMES = right(23);
const RIGHT_SYMLINK = right(24), RIGHT_REMOVE_DIRECTORY = right(25), RIGHT_UNLINK = right(26);
const FOLLOW = 1, CREATE = 1, OPEN_DIRECTORY = 2, EXCLUSIVE = 4, TRUNCATE = 8, APPEND = 1, ALL_FLAGS = 31;
const PREOPEN = 3, MAX_PATH = 4096, MAX_ENTRY_PATH = 1024, MAX_TARGET = 1024, MAX_NAME = 255, MAX_LINKS = 40;
const COMPONENT_GAS = 100, ENTRY_GAS = 100, LAST_OFFSET = (1n << 63n) - 1n, MOST_U32 = 0xffffffff;
const LISTING_HEAD_BYTES = 14, DIRENT_BYTES = 24, FIRST_COOKIE = 2, PIECE = 1 << 18;

const textOf = (bytes) => Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""); // a byte is a character
const bytesOf = (text) => Uint8Array.from(text, (char) => char.charCodeAt(0));

/** Whether some bytes are UTF-8 (RFC 3629): no surrogates, nothing overlong, at most U+10FFFF. */
function isUtf8(bytes) {
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at++];
    if (first < 0x80) continue;
    let more = 0, least = 0x80, most = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) more = 1;
    else if (first >= 0xe0 && first <= 0xef) {
      more = 2;
      if (first === 0xe0) least = 0xa0;
      if (first === 0xed) most = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
      more = 3;
      if (first === 0xf0) least = 0x90;
      if (first === 0xf4) most = 0x8f;
    } else return false;
    for (; more > 0; more--, least = 0x80, most = 0xbf) {
      const next = bytes[at++];
      if (next === undefined || next < least || next > most) return false;
    }
  }
  return true;
}

function checkText(bytes) {
  if (!isUtf8(bytes)) throw new Errno(ILSEQ);
  if (bytes.includes(0)) throw new Errno(INVAL);
}

/** The first index in ascending numbers whose number is greater than a value. */
function above(numbers, value) {
  let low = 0, high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] > value) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** The pieces that some bytes of a file are in: of each its index, and the offsets in it of the first and behind the last. */
function* parts(offset, count) {
  for (const end = offset + count; offset < end; ) {
    const index = Math.floor(offset / PIECE), at = offset - index * PIECE, size = Math.min(PIECE - at, end - offset);
    yield [index, at, at + size];
    offset += size;
  }
}

/**
 * The bytes of a file that the job has written, in pieces: they take what the file has, and hardly more. One array
 * would keep the room of what was cut off, and take the room of the old one beside the new one where it grows.
 */
class FileBytes {
  constructor() {
    this.pieces = []; // each may be longer than what the file has of it: zeros follow then
    this.size = 0;
  }

  fill(offset, target) {
    let done = 0;
    for (const [index, at, end] of parts(offset, target.length)) {
      target.set(this.pieces[index].subarray(at, end), done);
      done += end - at;
    }
  }

  write(offset, bytes) {
    let done = 0;
    for (const [index, at, end] of parts(offset, bytes.length)) {
      this.pieces[index].set(bytes.subarray(done, done + end - at), at);
      done += end - at;
    }
  }

  resize(size) {
    const { pieces } = this;
    if (size < this.size) {
      pieces.length = Math.ceil(size / PIECE);
      const kept = size - (pieces.length - 1) * PIECE, last = pieces[pieces.length - 1];
      if (last && last.length > spacious(kept)) pieces[pieces.length - 1] = last.slice(0, kept);
      else last?.fill(0, kept);
    } else {
      for (const [index, , end] of parts(this.size, size - this.size)) {
        const piece = pieces[index];
        if (piece && piece.length >= end) continue;
        pieces[index] = new Uint8Array(piece ? Math.min(PIECE, spacious(end)) : end);
        if (piece) pieces[index].set(piece);
      }
    }
    this.size = size;
  }
}

/** How long a piece may be for so many bytes: a little longer, so that it need not be copied for each byte more. */
const spacious = (size) => size + 16 + (size >> 3);

class Inode {
  constructor(number, kind, now) {
    this.number = number;
    this.kind = kind;
    this.links = 0;
    this.opens = 0;
    this.readOnly = false;
    this.own = true;
    this.packed = false; // its bytes are in the pack, from offset on
    this.size = 0;
    this.atim = this.mtim = this.ctim = now;
    if (kind === DIRECTORY) {
      this.names = new Map(); // name → { number, inode }
      this.order = []; // the numbers of its names, ascending
      this.byNumber = new Map();
      this.parent = null;
      this.pathBytes = 0;
    }
  }

  get cost() {
    return this.own ? this.size * Math.max(1, this.links) : 0;
  }
}

/** The inodes of a job. job: { listing: Uint8Array, readOnly: texts, limits }; read(offset, target) reads the pack. */
class Tree {
  constructor(job, read, now) {
    this.limits = job.limits;
    this.used = this.count = 0;
    this.read = read;
    this.now = now;
    this.nextInode = 1;
    this.nextName = FIRST_COOKIE + 1;
    const start = now();
    this.root = this.made(DIRECTORY, start);
    this.root.links = 1;
    const byPath = new Map([["", this.root]]), offsets = new Map(), fixed = new Set(job.readOnly);
    const { listing } = job, view = new DataView(listing.buffer, listing.byteOffset, listing.length);
    let end = 0;
    for (let at = LISTING_HEAD_BYTES; at < listing.length; ) {
      const kind = view.getUint8(at), length = view.getUint32(at + 1, true);
      at += 5;
      const path = textOf(listing.subarray(at, at + length));
      at += length;
      const inode = this.made(kind, start);
      inode.own = false;
      if (kind === DIRECTORY || fixed.has(path)) byPath.set(path, inode);
      if (kind === FILE) {
        inode.size = Number(view.getBigUint64(at, true));
        inode.packed = true;
        const digest = textOf(listing.subarray(at + 8, at + 40));
        if (!offsets.has(digest)) {
          offsets.set(digest, end);
          end += inode.size;
        }
        inode.offset = offsets.get(digest);
        at += 40;
      } else if (kind === LINK) {
        const size = view.getUint32(at, true);
        inode.target = textOf(listing.subarray(at + 4, at + 4 + size));
        inode.size = size;
        at += 4 + size;
      }
      const slash = path.lastIndexOf("/");
      this.attach(byPath.get(slash < 0 ? "" : path.slice(0, slash)), path.slice(slash + 1), inode);
    }
    for (const path of job.readOnly) for (const inode of below(byPath.get(path))) inode.readOnly = true;
  }

  made(kind, now) {
    return new Inode(this.nextInode++, kind, now);
  }

  attach(directory, name, inode) {
    const number = this.nextName++;
    directory.names.set(name, { number, inode });
    directory.order.push(number);
    directory.byNumber.set(number, name);
    inode.links++;
    this.count++;
    if (inode.kind === DIRECTORY) {
      inode.parent = directory;
      inode.pathBytes = directory.pathBytes + name.length + 1;
    }
  }

  detach(directory, name) {
    const { number, inode } = directory.names.get(name);
    directory.names.delete(name);
    directory.order.splice(above(directory.order, number) - 1, 1);
    directory.byNumber.delete(number);
    inode.links--;
    this.count--;
  }

  touch(...changed) {
    const now = this.now();
    for (const inode of changed) {
      inode.ctim = now;
      if (inode.kind === DIRECTORY) inode.mtim = now;
    }
  }

  checkPlace(directory, name, under = 0) {
    if (directory.readOnly) throw new Errno(ROFS);
    if (!directory.links) throw new Errno(NOENT);
    if (name.length > MAX_NAME || directory.pathBytes + name.length + under > MAX_ENTRY_PATH) throw new Errno(NAMETOOLONG);
  }

  create(directory, name, kind, target = "") {
    this.checkPlace(directory, name);
    if (this.count >= this.limits.entries || target.length > this.free) throw new Errno(NOSPC);
    const inode = this.made(kind, this.now());
    this.attach(directory, name, inode);
    if (kind === LINK) {
      inode.target = target;
      inode.size = target.length;
      this.used += target.length;
    }
    this.touch(directory);
    return inode;
  }

  link(inode, directory, name) {
    if (inode.readOnly) throw new Errno(XDEV);
    this.checkPlace(directory, name);
    const cost = inode.size * (inode.links + 1);
    if (this.count >= this.limits.entries || this.used - inode.cost + cost > this.limits.dataBytes) throw new Errno(NOSPC);
    this.used += cost - inode.cost;
    this.attach(directory, name, inode);
    inode.own = true;
    this.touch(directory, inode);
  }

  unlink(directory, name) {
    const { inode } = directory.names.get(name);
    if (directory.readOnly || inode.readOnly) throw new Errno(ROFS);
    const before = inode.cost;
    this.detach(directory, name);
    this.used += inode.cost - before;
    this.touch(directory, inode);
    this.release(inode);
  }

  release(inode) {
    if (inode.links || inode.opens) return;
    this.used -= inode.cost;
    inode.own = inode.packed = false;
    inode.size = 0;
    inode.data = undefined;
  }

  rename(source, old, target, name, charge) {
    const { inode } = source.names.get(old), there = target.names.get(name)?.inode;
    if (there === inode) return;
    let under = 0, fixed = source.readOnly || inode.readOnly;
    if (inode.kind === DIRECTORY) {
      for (let up = target; up; up = up.parent) if (up === inode) throw new Errno(INVAL);
      for (const [each, length] of lengths(inode)) {
        charge(ENTRY_GAS);
        under = Math.max(under, length);
        fixed = fixed || each.readOnly;
      }
    }
    if (there) {
      if (inode.kind === DIRECTORY) {
        if (there.kind !== DIRECTORY) throw new Errno(NOTDIR);
        if (there.names.size) throw new Errno(NOTEMPTY);
      } else if (there.kind === DIRECTORY) throw new Errno(ISDIR);
    }
    if (fixed) throw new Errno(ROFS);
    this.checkPlace(target, name, under);
    if (there) this.unlink(target, name);
    this.detach(source, old);
    this.attach(target, name, inode);
    if (inode.kind === DIRECTORY) {
      for (const each of below(inode)) {
        if (each.kind !== DIRECTORY) continue;
        for (const [inner, { inode: child }] of each.names) {
          if (child.kind === DIRECTORY) child.pathBytes = each.pathBytes + inner.length + 1;
        }
      }
    }
    this.touch(source, target);
    inode.ctim = this.now();
  }

  get free() {
    return this.limits.dataBytes - this.used;
  }

  /** The greatest size that a file may have now. */
  room(inode) {
    return Math.floor((this.free + inode.cost) / Math.max(1, inode.links));
  }

  /** Fill a target with the bytes of a file from an offset on, which it has. */
  fill(inode, offset, target) {
    if (inode.packed) this.read(inode.offset + offset, target);
    else inode.data.fill(offset, target);
  }

  /** How many bytes changing a file's size copies, and fills. */
  copied(inode, size) {
    return (inode.packed ? Math.min(inode.size, size) : 0) + Math.max(0, size - inode.size);
  }

  resize(inode, size) {
    const before = inode.cost;
    inode.data ??= new FileBytes();
    if (inode.packed) {
      const kept = Math.min(inode.size, size), piece = new Uint8Array(Math.min(PIECE, kept));
      for (let at = 0; at < kept; at += PIECE) {
        const part = piece.subarray(0, Math.min(PIECE, kept - at));
        this.read(inode.offset + at, part);
        inode.data.resize(at + part.length);
        inode.data.write(at, part);
      }
      inode.packed = false;
    }
    inode.data.resize(size);
    inode.size = size;
    inode.own = true;
    this.used += inode.cost - before;
  }

  written(inode) {
    inode.mtim = inode.ctim = this.now();
  }
}

/** An inode and all that is under it. */
function* below(top) {
  const waiting = [top];
  while (waiting.length) {
    const inode = waiting.pop();
    yield inode;
    if (inode.kind === DIRECTORY) for (const { inode: child } of inode.names.values()) waiting.push(child);
  }
}

/** What is under a directory, each with the length of its path from there, separators included. */
function* lengths(top) {
  const waiting = [[top, 0]];
  while (waiting.length) {
    const [directory, length] = waiting.pop();
    for (const [name, { inode }] of directory.names) {
      yield [inode, length + name.length + 1];
      if (inode.kind === DIRECTORY) waiting.push([inode, length + name.length + 1]);
    }
  }
}

const namesOf = (path) => path.split("/").filter((name) => name !== "" && name !== ".").reverse();
const saysDirectory = (path) => path.endsWith("/") || path.endsWith("/.") || path === ".";

/** Look a path up below a directory: { directory, name, inode, slash }; the name is empty for the directory itself. */
function resolve(start, bytes, charge, follow, naming) {
  checkText(bytes);
  const path = textOf(bytes);
  if (path === "") throw new Errno(NOENT);
  if (path.startsWith("/")) throw new Errno(PERM);
  const up = [start], names = namesOf(path);
  let slash = saysDirectory(path), links = 0;
  while (names.length) {
    const name = names.pop();
    charge(COMPONENT_GAS);
    if (name === "..") {
      if (up.length === 1) throw new Errno(PERM);
      up.pop();
      continue;
    }
    if (name.length > MAX_NAME) throw new Errno(NAMETOOLONG);
    const directory = up[up.length - 1], inode = directory.names.get(name)?.inode, last = !names.length;
    if (!inode) {
      if (!last) throw new Errno(NOENT);
      return { directory, name, inode: null, slash };
    }
    if (inode.kind === LINK && (!last || follow || (slash && !naming))) {
      if (++links > MAX_LINKS) throw new Errno(LOOP);
      charge(inode.target.length);
      slash = slash || (last && saysDirectory(inode.target));
      names.push(...namesOf(inode.target));
    } else if (inode.kind === DIRECTORY) {
      if (last) return { directory, name, inode, slash };
      up.push(inode);
    } else if (!last || slash) throw new Errno(NOTDIR);
    else return { directory, name, inode, slash };
  }
  const directory = up[up.length - 1];
  return { directory, name: "", inode: directory, slash: true };
}

/**
 * The files of one job, and the host functions over them, for a Host of wasi.mjs.
 *
 * job: { listing: Uint8Array; readOnly, outputs: arrays of texts, a byte a character, "" for the root;
 * limits: { dataBytes, entries, descriptors } }. read(offset, target) fills target from the blobs behind the listing.
 */
class Files {
  constructor(host, job, read) {
    this.host = host;
    this.outputs = job.outputs;
    this.now = () => host.clock.startOf(0) + host.clock.now();
    this.tree = new Tree(job, read, this.now);
    this.charge = (amount) => host.charge(amount);
    this.open = new Map();
    this.closed = []; // numbers below `next` that are free, ascending
    this.next = PREOPEN + 1;
    this.opened(PREOPEN, this.tree.root, DIRECTORY_RIGHTS, ALL_RIGHTS, 0, true);
  }

  opened(fd, inode, rights, inheriting, flags, preopen = false) {
    this.open.set(fd, { inode, rights, inheriting, flags, position: 0n, preopen });
    inode.opens++;
  }

  has(fd) {
    return this.open.has(fd);
  }

  readyBytes(fd, writing) {
    const { inode, position } = this.file(fd, (writing ? RIGHT_FD_WRITE : RIGHT_FD_READ) | RIGHT_POLL);
    if (writing) return this.tree.free;
    return position < BigInt(inode.size) ? inode.size - Number(position) : 0;
  }

  file(fd, needed = 0n) {
    const found = this.open.get(fd);
    if (needed & ~found.rights) throw new Errno(NOTCAPABLE);
    return found;
  }

  directory(fd, needed) {
    const found = this.open.get(fd);
    if (!found) throw new Errno(this.host.streams.has(fd) ? NOTDIR : BADF);
    if (found.inode.kind !== DIRECTORY) throw new Errno(NOTDIR);
    return this.file(fd, needed);
  }

  data(fd, needed) {
    if (this.open.get(fd).inode.kind === DIRECTORY) throw new Errno(ISDIR);
    return this.file(fd, needed);
  }

  find(fd, needed, path, length, { follow = false, naming = false, written = [0, 0] } = {}) {
    const start = this.directory(fd, needed).inode;
    this.host.check(path, length);
    this.host.check(...written);
    if (length > MAX_PATH) throw new Errno(NAMETOOLONG);
    this.charge(length);
    return resolve(start, this.host.bytes(path, length).slice(), this.charge, follow, naming);
  }

  found(found) {
    if (!found.inode) throw new Errno(NOENT);
    return found.inode;
  }

  free(fd) {
    this.closed.splice(above(this.closed, fd), 0, fd);
  }

  release(opened) {
    opened.inode.opens--;
    this.tree.release(opened.inode);
  }

  fd_close(fd) {
    if (!this.open.has(fd)) this.host.fd_close(fd);
    else {
      const opened = this.open.get(fd);
      this.open.delete(fd);
      this.release(opened);
    }
    this.free(fd);
    return 0;
  }

  fd_renumber(source, target) {
    const { streams, rights } = this.host;
    for (const fd of [source, target]) if (!this.open.has(fd) && !streams.has(fd)) return BADF;
    if (source === target) return 0;
    if (this.open.has(target)) {
      const opened = this.open.get(target);
      this.open.delete(target);
      this.release(opened);
    } else {
      streams.delete(target);
      rights.delete(target);
    }
    for (const table of this.open.has(source) ? [this.open] : [streams, rights]) {
      table.set(target, table.get(source));
      table.delete(source);
    }
    this.free(source);
    return 0;
  }

  fd_prestat_get(fd, prestat) {
    if (!this.open.get(fd)?.preopen) return BADF;
    const view = this.host.view(prestat, 8);
    view.setUint32(0, 0, true);
    view.setUint32(4, 1, true);
    return 0;
  }

  fd_prestat_dir_name(fd, pointer, length) {
    if (!this.open.get(fd)?.preopen) return BADF;
    if (length < 1) return NAMETOOLONG;
    this.host.bytes(pointer, 1)[0] = 47; // the slash
    return 0;
  }

  fd_fdstat_get(fd, stat) {
    if (!this.open.has(fd)) return this.host.fd_fdstat_get(fd, stat);
    const { inode, flags, rights, inheriting } = this.open.get(fd), view = this.host.view(stat, 24);
    view.setBigUint64(0, BigInt(inode.kind) | (BigInt(flags) << 16n), true);
    view.setBigUint64(8, rights, true);
    view.setBigUint64(16, inheriting, true);
    return 0;
  }

  fd_fdstat_set_flags(fd, flags) {
    if (!this.open.has(fd)) return this.host.fd_fdstat_set_flags(fd, flags);
    const opened = this.file(fd, RIGHT_SET_FLAGS);
    if (flags & ~ALL_FLAGS) return INVAL;
    opened.flags = flags;
    return 0;
  }

  fd_fdstat_set_rights(fd, rights, inheriting) {
    if (!this.open.has(fd)) return this.host.fd_fdstat_set_rights(fd, rights, inheriting);
    const opened = this.open.get(fd);
    if (rights & ~opened.rights || inheriting & ~opened.inheriting) return NOTCAPABLE;
    opened.rights = rights;
    opened.inheriting = inheriting;
    return 0;
  }

  writeStat(pointer, inode) {
    const view = this.host.view(pointer, 64), size = inode.kind === DIRECTORY ? 0 : inode.size;
    const fields = [1n, inode.number, inode.kind, inode.links, size, inode.atim, inode.mtim, inode.ctim];
    fields.forEach((value, index) => view.setBigUint64(8 * index, BigInt(value), true));
  }

  fd_filestat_get(fd, stat) {
    if (!this.open.has(fd)) return this.host.fd_filestat_get(fd, stat);
    this.writeStat(stat, this.file(fd, RIGHT_STAT).inode);
    return 0;
  }

  path_filestat_get(fd, flags, path, length, stat) {
    const follow = Boolean(flags & FOLLOW);
    this.writeStat(stat, this.found(this.find(fd, RIGHT_PATH_STAT, path, length, { follow, written: [stat, 64] })));
    return 0;
  }

  setTimes(inode, atim, mtim, flags) {
    if (flags > 15 || (flags & 3) === 3 || (flags & 12) === 12) return INVAL;
    if (inode.readOnly) return ROFS;
    const now = this.now();
    if (flags & 3) inode.atim = flags & 1 ? atim : now;
    if (flags & 12) inode.mtim = flags & 4 ? mtim : now;
    inode.ctim = now;
    return 0;
  }

  fd_filestat_set_times(fd, atim, mtim, flags) {
    if (!this.open.has(fd)) return this.host.fd_filestat_set_times(fd, atim, mtim, flags);
    return this.setTimes(this.file(fd, RIGHT_SET_TIMES).inode, atim, mtim, flags);
  }

  path_filestat_set_times(fd, lookup, path, length, atim, mtim, flags) {
    const found = this.find(fd, RIGHT_PATH_SET_TIMES, path, length, { follow: Boolean(lookup & FOLLOW) });
    return this.setTimes(this.found(found), atim, mtim, flags);
  }

  // -- the bytes of files

  readAt({ inode }, list, count, offset, nread) {
    const vectors = this.host.vectors(list, count);
    this.host.check(nread, 4);
    const room = vectors.reduce((sum, [, length]) => sum + length, 0);
    const there = offset < BigInt(inode.size) ? inode.size - Number(offset) : 0, wanted = Math.min(room, there, MOST_U32);
    this.charge(wanted);
    let at = Number(offset);
    this.host.scatter(vectors, wanted, (target) => {
      this.tree.fill(inode, at, target);
      at += target.length;
    });
    this.host.view(nread, 4).setUint32(0, wanted, true);
    return wanted;
  }

  fd_read(fd, list, count, nread) {
    if (!this.open.has(fd)) return this.host.fd_read(fd, list, count, nread);
    const file = this.data(fd, RIGHT_FD_READ);
    file.position += BigInt(this.readAt(file, list, count, file.position, nread));
    return 0;
  }

  fd_pread(fd, list, count, offset, nread) {
    if (!this.open.has(fd)) return this.host.fd_pread(fd, list, count, offset, nread);
    const file = this.data(fd, RIGHT_FD_READ | RIGHT_SEEK);
    if (offset > LAST_OFFSET) return INVAL;
    this.readAt(file, list, count, offset, nread);
    return 0;
  }

  writeAt({ inode }, list, count, offset, nwritten) {
    const vectors = this.host.vectors(list, count);
    this.host.check(nwritten, 4);
    const total = vectors.reduce((sum, [, length]) => sum + length, 0);
    if (total > MOST_U32) throw new Errno(INVAL);
    const start = offset ?? BigInt(inode.size), room = this.tree.room(inode);
    const taken = start < BigInt(room) ? Math.min(total, room - Number(start)) : 0;
    if (total && !taken) throw new Errno(NOSPC);
    if (taken) {
      let at = Number(start);
      this.charge(taken + Math.max(0, at - inode.size) + (inode.packed ? inode.size : 0));
      this.tree.resize(inode, Math.max(inode.size, at + taken));
      this.host.gather(vectors, taken, (bytes) => {
        inode.data.write(at, bytes);
        at += bytes.length;
      });
      this.tree.written(inode);
    }
    this.host.view(nwritten, 4).setUint32(0, taken, true);
    return start + BigInt(taken);
  }

  fd_write(fd, list, count, nwritten) {
    if (!this.open.has(fd)) return this.host.fd_write(fd, list, count, nwritten);
    const file = this.data(fd, RIGHT_FD_WRITE);
    file.position = this.writeAt(file, list, count, file.flags & APPEND ? undefined : file.position, nwritten);
    return 0;
  }

  fd_pwrite(fd, list, count, offset, nwritten) {
    if (!this.open.has(fd)) return this.host.fd_pwrite(fd, list, count, offset, nwritten);
    const file = this.data(fd, RIGHT_FD_WRITE | RIGHT_SEEK);
    if (offset > LAST_OFFSET) return INVAL;
    this.writeAt(file, list, count, offset, nwritten);
    return 0;
  }

  fd_seek(fd, offset, whence, position) {
    if (!this.open.has(fd)) return this.host.fd_seek(fd, offset, whence, position);
    const file = this.data(fd, 0n);
    const needed = offset === 0n && whence === 1 ? RIGHT_TELL | RIGHT_SEEK : RIGHT_SEEK;
    if (!(file.rights & needed)) return NOTCAPABLE;
    this.host.check(position, 8);
    if (whence > 2) return INVAL;
    const at = [0n, file.position, BigInt(file.inode.size)][whence] + BigInt.asIntN(64, offset);
    if (at < 0n || at > LAST_OFFSET) return INVAL;
    file.position = at;
    this.host.view(position, 8).setBigUint64(0, at, true);
    return 0;
  }

  fd_tell(fd, position) {
    if (!this.open.has(fd)) return this.host.fd_tell(fd, position);
    const file = this.data(fd, 0n);
    if (!(file.rights & (RIGHT_TELL | RIGHT_SEEK))) return NOTCAPABLE;
    this.host.view(position, 8).setBigUint64(0, file.position, true);
    return 0;
  }

  setSize(inode, size) {
    if (size > BigInt(this.tree.room(inode))) throw new Errno(NOSPC);
    this.charge(this.tree.copied(inode, Number(size)));
    this.tree.resize(inode, Number(size));
    this.tree.written(inode);
  }

  fd_filestat_set_size(fd, size) {
    if (!this.open.has(fd)) return this.host.fd_filestat_set_size(fd, size);
    this.setSize(this.data(fd, RIGHT_SET_SIZE).inode, size);
    return 0;
  }

  fd_allocate(fd, offset, length) {
    if (!this.open.has(fd)) return this.host.fd_allocate(fd, offset, length);
    const { inode } = this.data(fd, RIGHT_ALLOCATE);
    if (length === 0n || offset + length > LAST_OFFSET) return INVAL;
    if (offset + length > BigInt(inode.size)) this.setSize(inode, offset + length);
    return 0;
  }

  fd_advise(fd, offset, length, advice) {
    if (!this.open.has(fd)) return this.host.fd_advise(fd, offset, length, advice);
    this.data(fd, RIGHT_ADVISE);
    return advice > 5 || offset + length > LAST_OFFSET ? INVAL : 0;
  }

  fd_sync(fd) {
    if (!this.open.has(fd)) return this.host.fd_sync(fd);
    this.file(fd, RIGHT_SYNC);
    return 0;
  }

  fd_datasync(fd) {
    if (!this.open.has(fd)) return this.host.fd_datasync(fd);
    this.file(fd, RIGHT_DATASYNC);
    return 0;
  }

  fd_readdir(fd, buffer, length, cookie, used) {
    if (!this.open.has(fd)) return this.host.fd_readdir(fd, buffer, length, cookie, used);
    const { inode } = this.directory(fd, RIGHT_READDIR), target = this.host.bytes(buffer, length);
    this.host.check(used, 4);
    this.charge(length);
    let at = 0;
    for (const [number, name, child] of entriesBehind(inode, cookie)) {
      this.charge(ENTRY_GAS);
      const entry = new Uint8Array(DIRENT_BYTES + name.length), view = new DataView(entry.buffer);
      view.setBigUint64(0, BigInt(number), true);
      view.setBigUint64(8, BigInt(child.number), true);
      view.setUint32(16, name.length, true);
      view.setUint8(20, child.kind);
      entry.set(bytesOf(name), DIRENT_BYTES);
      const piece = entry.subarray(0, length - at);
      target.set(piece, at);
      at += piece.length;
      if (at === length) break;
    }
    this.host.view(used, 4).setUint32(0, at, true);
    return 0;
  }

  // -- paths

  path_open(fd, lookup, path, length, how, rights, inheriting, flags, opened) {
    let needed = RIGHT_OPEN;
    if (how & CREATE) needed |= RIGHT_CREATE_FILE;
    if (how & TRUNCATE) needed |= RIGHT_PATH_SET_SIZE;
    const start = this.directory(fd, needed);
    rights &= ALL_RIGHTS;
    inheriting &= ALL_RIGHTS;
    if ((rights | inheriting) & ~start.inheriting) return NOTCAPABLE;
    const exclusive = Boolean(how & CREATE && how & EXCLUSIVE), follow = Boolean(lookup & FOLLOW) && !exclusive;
    const found = this.find(fd, needed, path, length, { follow, written: [opened, 4] });
    if (how > 15 || flags & ~ALL_FLAGS || (how & CREATE && how & OPEN_DIRECTORY)) return INVAL;
    if (this.open.size + this.host.streams.size >= this.tree.limits.descriptors) return NFILE;
    let { inode } = found;
    if (!inode) {
      if (!(how & CREATE)) return NOENT;
      if (found.slash) return ISDIR;
      inode = this.tree.create(found.directory, found.name, FILE);
    } else {
      if (exclusive) return EXIST;
      const refused = refusal(inode, how, rights);
      if (refused) return refused;
      if (how & TRUNCATE) this.setSize(inode, 0n);
    }
    const number = this.closed.length ? this.closed.shift() : this.next++;
    this.opened(number, inode, rights & (inode.kind === DIRECTORY ? DIRECTORY_RIGHTS : FILE_RIGHTS), inheriting, flags);
    this.host.view(opened, 4).setUint32(0, number, true);
    return 0;
  }

  path_create_directory(fd, path, length) {
    const found = this.find(fd, RIGHT_CREATE_DIRECTORY, path, length, { naming: true });
    if (found.inode) return EXIST;
    this.tree.create(found.directory, found.name, DIRECTORY);
    return 0;
  }

  path_symlink(target, targetLength, fd, path, length) {
    this.directory(fd, RIGHT_SYMLINK);
    this.host.check(target, targetLength);
    if (targetLength > MAX_TARGET) {
      this.host.check(path, length);
      return NAMETOOLONG;
    }
    const found = this.find(fd, RIGHT_SYMLINK, path, length, { naming: true });
    this.charge(targetLength);
    const bytes = this.host.bytes(target, targetLength).slice();
    checkText(bytes);
    if (!bytes.length || (!found.inode && found.slash)) return NOENT;
    if (bytes[0] === 47) return PERM;
    if (found.inode) return EXIST;
    this.tree.create(found.directory, found.name, LINK, textOf(bytes));
    return 0;
  }

  path_readlink(fd, path, length, buffer, bufferLength, used) {
    this.directory(fd, RIGHT_READLINK);
    this.host.check(buffer, bufferLength);
    const inode = this.found(this.find(fd, RIGHT_READLINK, path, length, { written: [used, 4] }));
    if (inode.kind !== LINK) return INVAL;
    const text = bytesOf(inode.target).subarray(0, bufferLength);
    this.charge(text.length);
    this.host.bytes(buffer, text.length).set(text);
    this.host.view(used, 4).setUint32(0, text.length, true);
    return 0;
  }

  path_link(fd, lookup, path, length, newFd, newPath, newLength) {
    this.directory(newFd, RIGHT_LINK_TARGET);
    this.host.check(newPath, newLength);
    const inode = this.found(this.find(fd, RIGHT_LINK_SOURCE, path, length, { naming: true }));
    const target = this.find(newFd, RIGHT_LINK_TARGET, newPath, newLength, { naming: true });
    if (lookup & FOLLOW) return INVAL;
    if (inode.kind === DIRECTORY) return PERM;
    if (target.inode) return EXIST;
    if (target.slash) return NOENT;
    this.tree.link(inode, target.directory, target.name);
    return 0;
  }

  path_rename(fd, path, length, newFd, newPath, newLength) {
    this.directory(newFd, RIGHT_RENAME_TARGET);
    this.host.check(newPath, newLength);
    const source = this.find(fd, RIGHT_RENAME_SOURCE, path, length, { naming: true }), inode = this.found(source);
    const target = this.find(newFd, RIGHT_RENAME_TARGET, newPath, newLength, { naming: true });
    if (source.name === "" || target.name === "") return BUSY;
    if (target.slash && inode.kind !== DIRECTORY) return NOTDIR;
    this.tree.rename(source.directory, source.name, target.directory, target.name, this.charge);
    return 0;
  }

  path_unlink_file(fd, path, length) {
    const found = this.find(fd, RIGHT_UNLINK, path, length, { naming: true });
    if (this.found(found).kind === DIRECTORY) return ISDIR;
    this.tree.unlink(found.directory, found.name);
    return 0;
  }

  path_remove_directory(fd, path, length) {
    const found = this.find(fd, RIGHT_REMOVE_DIRECTORY, path, length, { naming: true }), inode = this.found(found);
    if (inode.kind !== DIRECTORY) return NOTDIR;
    if (found.name === "") return INVAL;
    if (inode.names.size) return NOTEMPTY;
    this.tree.unlink(found.directory, found.name);
    return 0;
  }

  noSocket(fd) {
    return this.open.has(fd) || this.host.streams.has(fd) ? NOTSOCK : BADF;
  }

  /**
   * Tell what the job leaves: entry(position, kind, size, path) for each file and directory of each output, in the
   * order of a listing, then data(bytes) for the bytes of a file. Links are left out.
   */
  collect({ entry, data }) {
    this.outputs.forEach((output, position) => {
      let top = this.tree.root;
      for (const name of output === "" ? [] : output.split("/")) top = top?.names?.get(name)?.inode;
      if (!top || top.kind === LINK) return;
      const found = [["", top]];
      for (const [path, inode] of found) {
        if (inode.kind !== DIRECTORY) continue;
        for (const [name, { inode: child }] of inode.names) {
          if (child.kind !== LINK) found.push([path === "" ? name : `${path}/${name}`, child]);
        }
      }
      found.sort(([one], [other]) => (one < other ? -1 : 1)); // a byte is a character
      for (const [path, inode] of found) {
        const size = inode.kind === FILE ? inode.size : 0;
        entry(position, inode.kind, size, bytesOf(path));
        for (let at = 0; at < size; at += PIECE) {
          const piece = new Uint8Array(Math.min(PIECE, size - at));
          this.tree.fill(inode, at, piece);
          data(piece);
        }
      }
    });
  }
}
for (const name of ["sock_accept", "sock_recv", "sock_send", "sock_shutdown"]) {
  Files.prototype[name] = Files.prototype.noSocket;
}

/** A directory's entries behind a cookie: the cookie behind each, its name, its inode. */
function* entriesBehind(directory, cookie) {
  if (cookie < 1n) yield [1, ".", directory];
  if (cookie < BigInt(FIRST_COOKIE)) yield [FIRST_COOKIE, "..", directory.parent ?? directory];
  const from = cookie > BigInt(Number.MAX_SAFE_INTEGER) ? directory.order.length : above(directory.order, Number(cookie));
  for (let index = from; index < directory.order.length; index++) {
    const number = directory.order[index], name = directory.byNumber.get(number);
    yield [number, name, directory.names.get(name).inode];
  }
}

/** Why what there is cannot be opened so: an errno, or 0. */
function refusal(inode, how, rights) {
  const changes = RIGHT_FD_WRITE | RIGHT_ALLOCATE | RIGHT_SET_SIZE;
  if (inode.kind === LINK) return how & OPEN_DIRECTORY ? NOTDIR : LOOP;
  if (inode.kind === FILE && how & OPEN_DIRECTORY) return NOTDIR;
  if (inode.kind === DIRECTORY && (how & TRUNCATE || rights & RIGHT_FD_WRITE)) return ISDIR;
  if (inode.kind === FILE && inode.readOnly && (how & TRUNCATE || rights & changes)) return ROFS;
  return 0;
}

export { Files };
