/*
 * Rewrites one function's body, as function_body.py does, byte for byte, and ten times as fast.
 *
 * It is compiled to WebAssembly (build.sh), so that no machine needs a compiler for it, and runs in the engine that
 * validates modules. It takes the commonest code only. Whatever else it meets, it gives up the function, and Python
 * rewrites it: errors and rarer features have one implementation. What it takes must have been validated.
 */

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

#define EXPORT(name) __attribute__((export_name(name)))

enum { OK, GIVE_UP, NEED_NULL_CHECK, NEED_NAN_CHECK_F32, NEED_NAN_CHECK_F64 };
enum { /* what a function has, for the module's features */
  HAS_F32_BITS = 1, HAS_SIGN_EXTENSION = 2, HAS_SATURATING = 4, HAS_BULK_OPT = 8, HAS_INDIRECT_CALL = 16,
  HAS_GROWTH = 32, HAS_LARGE_FRAME = 64,
};
enum { MAX_LABELS = 4096, MAX_LOCALS = 60000, MAX_DECLARED = 50000, MAX_RUNS = 4096, MOST_LOCALS = 49984, GAS = 1 };
enum { COUNTED = 250, LARGE_FRAME = 1000, STACK_UNITS = 262144, FRAME_UNITS = 4, BYTES_PER_UNIT = 128 };
enum { MAX_FUNCTION_BYTES = 7654321, FAULT_STACK = 1, NO_FUNCTION = 0xFFFFFFFF };
enum { I32 = 0x7F, I64 = 0x7E, F32 = 0x7D, F64 = 0x7C, EMPTY = 0x40 };
enum {
  UNREACHABLE = 0, NOP = 1, BLOCK = 2, LOOP = 3, IF = 4, ELSE = 5, END = 0x0B, BR = 0x0C, BR_IF = 0x0D,
  BR_TABLE = 0x0E, RETURN = 0x0F, CALL = 0x10, CALL_INDIRECT = 0x11, LOCAL_GET = 0x20, LOCAL_SET = 0x21,
  LOCAL_TEE = 0x22, F32_LOAD = 0x2A, MEMORY_GROW = 0x40, I32_CONST = 0x41, I64_CONST = 0x42, F32_CONST = 0x43,
  F64_CONST = 0x44, F32_OF_BITS = 0xBE, PREFIX_FC = 0xFC,
};

/* What follows an opcode: opcodes.py's FOLLOWS, written here by the host before the first function. */
enum { NONE, INDEX, LOCAL, MEMARG, BYTES, CONTROL, NOTED, INVALID };

struct type { const u8 *params; u32 param_count, results, result_type; };
struct body { u32 type, begin, stop; }; /* where it lies in `data` */

struct {
  u32 gas, stack, fault, charge, grow;    /* indices of what is injected */
  u32 canonical_nans, trap_checks;
  u32 null_check, nan_check_f32, nan_check_f64; /* functions, or NO_FUNCTION */
  u32 functions, types;                   /* how many there are */
  u32 *function_arities, *type_arities;   /* parameters << 16 | results */
  u8 *data;                               /* the code section */
  u8 *out, *out_end;                      /* room for a body while it is rewritten */
  u8 *done, *done_end;                    /* room for finished entries of the code section */
  struct type *types_of;                  /* all types of the module */
  struct body *bodies;                    /* all bodies of the module */
  u32 next, body_count;                   /* the first to rewrite, and how many there are */
  u32 pages;                              /* for `grow` */
} in;
struct { u32 status, next, length, has; } result;
u8 follows[256], cost_of[256], truncates[256];
signed char effect_of[256];

struct label { u32 height, results; u8 opcode, takes_float; };
static struct label labels[MAX_LABELS];
static u8 types[MAX_LOCALS];
static u32 stamps[MAX_LOCALS], heights[MAX_LOCALS][2];
static u8 counts[MAX_LOCALS];
static u32 touched[MAX_LOCALS], touched_count, stamp;
static u32 run_counts[MAX_RUNS], run_count;
static u8 run_types[MAX_RUNS];
static u32 local_count, scratch_count;
static u8 scratch_types[8];
static u32 gas_local; /* or NO_FUNCTION */
static u32 scratch_index[256];

static const u8 *at, *end;
static u8 *put, *run, *run_begin;
static u32 status, copies, mixed_up;

static void give_up(void) { if (!status) status = GIVE_UP; }

/* -- reading */

static u32 read_unsigned(void) {
  u32 value = 0, shift = 0;
  for (;;) {
    if (at >= end || shift > 28) { give_up(); return 0; }
    u8 byte = *at++;
    value |= (u32)(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
    shift += 7;
  }
}

static i64 read_signed(void) {
  u64 value = 0;
  u32 shift = 0;
  for (;;) {
    if (at >= end || shift > 63) { give_up(); return 0; }
    u8 byte = *at++;
    value |= (u64)(byte & 0x7F) << shift;
    shift += 7;
    if (byte < 0x80) {
      if (shift < 64 && (byte & 0x40)) value |= ~0ULL << shift;
      return (i64)value;
    }
  }
}

static void skip_integers(u32 count) {
  while (count--) {
    do if (at >= end) { give_up(); return; } while (*at++ >= 0x80);
  }
}

/* -- writing: to `run`, the present run, in the upper half of the buffer, or to `put`, finished runs in the lower */

static u8 *write_unsigned(u8 *to, u32 value) {
  for (; value >= 0x80; value >>= 7) *to++ = (u8)(value | 0x80);
  *to++ = (u8)value;
  return to;
}

static u8 *write_signed(u8 *to, i64 value) {
  while (value < -0x40 || value >= 0x40) { *to++ = (u8)(value | 0x80); value >>= 7; }
  *to++ = (u8)(value & 0x7F);
  return to;
}

static void run_byte(u8 byte) { *run++ = byte; }
static void run_unsigned(u8 opcode, u32 value) { *run++ = opcode; run = write_unsigned(run, value); }
static void run_bytes(const u8 *from, u32 count) { while (count--) *run++ = *from++; }

static u8 *write_gas(u8 *to, u32 from_global) {
  if (from_global || gas_local == NO_FUNCTION) { *to++ = 0x23; return write_unsigned(to, in.gas); }
  *to++ = LOCAL_GET;
  return write_unsigned(to, gas_local);
}

static u8 *write_charge(u8 *to, u32 cost, u32 from_global) {
  to = write_gas(to, from_global);
  *to++ = 0x42; to = write_signed(to, cost);
  *to++ = 0x7D;
  if (gas_local != NO_FUNCTION) { *to++ = LOCAL_TEE; to = write_unsigned(to, gas_local); }
  *to++ = 0x24;
  return write_unsigned(to, in.gas);
}

/* Load the local again, which has the counter's value: instructions.py, _keep_gas. */
static u8 *write_reload(u8 *to) {
  if (gas_local == NO_FUNCTION) return to;
  to = write_gas(to, 1);
  *to++ = LOCAL_SET;
  return write_unsigned(to, gas_local);
}

static u8 *write_check(u8 *to) {
  static const u8 rest[] = {0x42, 0x00, 0x53, 0x04, 0x40, 0x00, 0x0B}; /* gas < 0: trap */
  to = write_gas(to, 0);
  for (u32 i = 0; i < sizeof rest; i++) *to++ = rest[i];
  return to;
}

static u32 scratch_of(u8 use, u8 type) {
  if (scratch_index[use] == NO_FUNCTION) {
    scratch_types[scratch_count] = type;
    scratch_index[use] = local_count + scratch_count++;
  }
  return scratch_index[use];
}

static u32 scratch(u8 type) { return scratch_of(type, type); }

/* -- local_reads.py */

static void forget_reads(void) { touched_count = 0; stamp++; }

static u32 below(u32 local, u32 height) {
  u32 found = 0;
  for (u32 i = 0; i < counts[local]; i++) found += heights[local][i] < height;
  return found;
}

static void read_again(u32 local, u32 height) {
  if (stamps[local] != stamp) {
    if (touched_count == MAX_LOCALS) { give_up(); return; }
    stamps[local] = stamp;
    touched[touched_count++] = local;
    counts[local] = 1;
    heights[local][0] = height;
    return;
  }
  u32 kept = 0;
  for (u32 i = 0; i < counts[local]; i++)
    if (heights[local][i] < height) heights[local][kept++] = heights[local][i];
  if (copies && kept) {
    u32 copy = scratch(types[local]);
    run_unsigned(LOCAL_SET, copy);
    run_unsigned(LOCAL_GET, copy);
  } else if (kept < 2) {
    heights[local][kept++] = height;
  }
  counts[local] = (u8)kept;
}

static void begin_block(u32 height) {
  for (u32 i = 0; i < touched_count; i++)
    if (stamps[touched[i]] == stamp && below(touched[i], height) > 1) mixed_up = 1;
  if (height > COUNTED) mixed_up = 1;
  forget_reads();
}

static void write_local(u32 local, u32 height) {
  if (stamps[local] == stamp) {
    if (below(local, height) > 1) mixed_up = 1;
    stamps[local] = 0;
  }
  if (height > COUNTED) mixed_up = 1;
}

/* -- blocks */

static u32 block_results(u8 type, u8 *is_float) {
  *is_float = type == F32 || type == F64;
  if (type == EMPTY) return 0;
  if (type < F64 || type > I32) give_up();
  return 1;
}

/* Skip what follows an opcode in code that is never reached: dead_code.py. */
static void skip_immediates(u8 opcode) {
  u8 kind = follows[opcode], ignored;
  if (opcode == BLOCK || opcode == LOOP || opcode == IF) {
    if (at < end) block_results(*at++, &ignored);
  } else if (kind == INDEX || kind == LOCAL || opcode == BR || opcode == BR_IF || opcode == CALL || opcode == MEMORY_GROW) {
    skip_integers(1);
  } else if (kind == MEMARG || opcode == CALL_INDIRECT || opcode == F32_LOAD) {
    skip_integers(2);
  } else if (opcode == F64_CONST) {
    at += 8;
  } else if (opcode == F32_CONST) {
    at += 4;
  } else if (opcode == BR_TABLE) {
    skip_integers(read_unsigned() + 1);
  } else if (opcode == PREFIX_FC) {
    u32 number = read_unsigned();
    if (number > 7 && number != 10 && number != 11) give_up();
    skip_integers(number == 10 ? 2 : number == 11 ? 1 : 0);
  } else if (kind == NONE || opcode == UNREACHABLE || opcode == RETURN || opcode == ELSE || opcode == END ||
             (opcode >= 0x8D && opcode <= 0xC4)) {
  } else {
    give_up();
  }
}

/* Take an instruction of `NOTED` or `CONTROL` that ends no run. */
static void other(u8 opcode, const u8 *start, i32 *height) {
  if (opcode == MEMORY_GROW) {
    read_unsigned();
    result.has |= HAS_GROWTH;
    run_unsigned(CALL, in.grow);
    run = write_reload(run);
  } else if (opcode == F32_LOAD) {
    result.has |= HAS_F32_BITS;
    run_unsigned(opcode, read_unsigned());
    run = write_unsigned(run, read_unsigned());
  } else if (opcode == F32_OF_BITS) {
    result.has |= HAS_F32_BITS;
    run_byte(opcode);
  } else if (opcode >= 0xC0 && opcode <= 0xC4) {
    result.has |= HAS_SIGN_EXTENSION;
    run_byte(opcode);
  } else if (opcode == F32_CONST) {
    if (end - at < 4) { give_up(); return; }
    u32 bits = at[0] | at[1] << 8 | at[2] << 16 | (u32)at[3] << 24;
    if ((bits & 0x7FC00000) == 0x7F800000 && (bits & 0x3FFFFF)) result.has |= HAS_F32_BITS;
    at += 4;
    run_bytes(start, 5);
    ++*height;
  } else if (opcode == PREFIX_FC) {
    u32 number = read_unsigned();
    if (number < 8) {
      result.has |= HAS_SATURATING;
      run_unsigned(PREFIX_FC, number);
    } else if (number == 10 || number == 11) {
      result.has |= HAS_BULK_OPT;
      run_unsigned(CALL, in.charge);
      run = write_reload(run);
      run_unsigned(PREFIX_FC, number);
      for (u32 i = number; i < 12; i++) run = write_unsigned(run, read_unsigned());
      *height -= 3;
    } else {
      give_up();
    }
  } else if (truncates[opcode]) {
    if (in.trap_checks) {
      u32 check = truncates[opcode] == F32 ? in.nan_check_f32 : in.nan_check_f64;
      if (check == NO_FUNCTION) {
        if (!status) status = truncates[opcode] == F32 ? NEED_NAN_CHECK_F32 : NEED_NAN_CHECK_F64;
        return;
      }
      run_unsigned(CALL, check);
    }
    run_byte(opcode);
  } else if (follows[opcode] == CONTROL && opcode >= 0x8D && opcode <= 0xBB) { /* may make a NaN */
    static const u8 nan_f32[] = {0x43, 0, 0, 0xC0, 0x7F}, nan_f64[] = {0x44, 0, 0, 0, 0, 0, 0, 0xF8, 0x7F};
    u8 is_f32 = opcode < 0x99 || opcode == 0xB6;
    *height += effect_of[opcode];
    run_byte(opcode);
    if (!in.canonical_nans) return;
    u32 local = scratch(is_f32 ? F32 : F64);
    run_unsigned(LOCAL_TEE, local);
    if (is_f32) run_bytes(nan_f32, sizeof nan_f32); else run_bytes(nan_f64, sizeof nan_f64);
    run_unsigned(LOCAL_GET, local);
    run_unsigned(LOCAL_GET, local);
    run_byte(is_f32 ? 0x5B : 0x61);
    run_byte(0x1B);
  } else {
    give_up();
  }
}

/* Rewrite the instructions at `at`, up to `end`, to `put`. Return the first run's cost. */
static u32 instructions(u32 results, u8 ends_in_float, u32 *peak_found, u32 *nesting_found, u32 *widest_found) {
  i32 height = 0, peak = 0, first_cost = -1;
  u32 depth = 1, nesting = 0, widest = 0, cost = 0, in_loop = 0, called = 0;
  labels[0] = (struct label){0, results, BLOCK, ends_in_float};
  while (depth) {
    u8 opcode, dead = 0;
    for (;;) { /* one run */
      if (at >= end || put + 64 >= run_begin || run + 64 >= in.out_end) { give_up(); return 0; }
      const u8 *start = at;
      opcode = *at++;
      u8 kind = follows[opcode], ends = 0;
      if (kind == NONE) {
        run_byte(opcode);
      } else if (kind == LOCAL) {
        u32 local = read_unsigned();
        if (local >= local_count) { give_up(); return 0; }
        run_unsigned(opcode, local);
        if (opcode != LOCAL_GET) {
          if (stamps[local] == stamp || height > COUNTED) write_local(local, height);
        } else if (copies || types[local] == I64 || types[local] == F64) {
          read_again(local, height);
        }
      } else if (kind == INDEX) {
        run_byte(opcode);
        if (opcode == I32_CONST || opcode == I64_CONST) run = write_signed(run, read_signed());
        else run = write_unsigned(run, read_unsigned());
      } else if (kind == MEMARG) {
        run_unsigned(opcode, read_unsigned());
        run = write_unsigned(run, read_unsigned());
      } else if (kind == BYTES) {
        if (end - at < 8) { give_up(); return 0; }
        at += 8;
        run_bytes(start, 9);
      } else {
        cost += cost_of[opcode];
        switch (opcode) {
        case END:
          if (height != (i32)(labels[depth - 1].height + labels[depth - 1].results)) { give_up(); return 0; }
          depth--;
          forget_reads();
          run_byte(END);
          ends = 1;
          break;
        case ELSE:
          if (height != (i32)(labels[depth - 1].height + labels[depth - 1].results)) { give_up(); return 0; }
          height = labels[depth - 1].height;
          forget_reads();
          run_byte(ELSE);
          ends = 1;
          break;
        case BLOCK: case LOOP: case IF: {
          u8 is_float;
          if (at >= end || depth >= MAX_LABELS) { give_up(); return 0; }
          u8 type = *at++;
          u32 values = block_results(type, &is_float);
          if (opcode == IF) height--;
          if (touched_count || height > COUNTED) begin_block(height);
          labels[depth++] = (struct label){height, values, opcode, is_float && opcode != LOOP};
          if (depth - 1 > nesting) nesting = depth - 1;
          run_byte(opcode);
          run_byte(type);
          ends = opcode != BLOCK;
          break;
        }
        case BR_IF: {
          u32 target = read_unsigned();
          if (target >= depth) { give_up(); return 0; }
          if (labels[depth - 1 - target].takes_float) {
            begin_block(height);
            run_byte(BLOCK); run_byte(EMPTY); run_byte(END); /* see function_body.py, _branch_if */
          }
          run_unsigned(BR_IF, target);
          height--;
          ends = 1;
          break;
        }
        case BR:
          run_unsigned(BR, read_unsigned());
          ends = dead = 1;
          break;
        case BR_TABLE: {
          u32 targets = read_unsigned();
          if (targets > (u32)(end - at)) { give_up(); return 0; }
          run_unsigned(BR_TABLE, targets);
          for (u32 i = 0; i <= targets && !status; i++) {
            if (run + 64 >= in.out_end) { give_up(); return 0; }
            run = write_unsigned(run, read_unsigned());
          }
          ends = dead = 1;
          break;
        }
        case RETURN:
          run_unsigned(BR, depth - 1);
          ends = dead = 1;
          break;
        case UNREACHABLE:
          run_byte(UNREACHABLE);
          ends = dead = 1;
          break;
        case CALL: case CALL_INDIRECT: {
          u32 index = read_unsigned(), arity;
          if (index >= (opcode == CALL ? in.functions : in.types)) { give_up(); return 0; }
          arity = (opcode == CALL ? in.function_arities : in.type_arities)[index];
          if (opcode == CALL_INDIRECT) {
            if (read_unsigned()) { give_up(); return 0; }
            result.has |= HAS_INDIRECT_CALL;
            height--;
            if (in.trap_checks) {
              if (in.null_check == NO_FUNCTION) { if (!status) status = NEED_NULL_CHECK; return 0; }
              run_unsigned(CALL, in.null_check);
            }
          }
          height += (i32)(arity & 0xFFFF) - (i32)(arity >> 16);
          if ((arity >> 16) + (arity & 0xFFFF) > widest) widest = (arity >> 16) + (arity & 0xFFFF);
          run_unsigned(opcode, index);
          if (opcode == CALL_INDIRECT) run_byte(0);
          ends = 1;
          break;
        }
        default:
          other(opcode, start, &height);
        }
        if (status) return 0;
        if (height > peak) peak = height;
        if (ends) break;
        continue;
      }
      height += effect_of[opcode];
      if (height > peak) peak = height;
      cost += cost_of[opcode];
    }
    if (status) return 0;
    if (put + 64 + (run - run_begin) >= run_begin) { give_up(); return 0; }
    if (first_cost < 0) {
      first_cost = (i32)cost;
    } else {
      if (cost) put = write_charge(put, cost, called);
      else if (called) put = write_reload(put);
      if (in_loop) put = write_check(put);
    }
    for (const u8 *from = run_begin; from < run; from++) *put++ = *from;
    run = run_begin;
    cost = 0;
    in_loop = opcode == LOOP;
    called = opcode == CALL || opcode == CALL_INDIRECT;
    if (!dead) continue;
    for (u32 inside = 0;;) { /* leave out what cannot be reached, up to the `else` or `end` that ends it */
      if (at >= end || status) { give_up(); return 0; }
      opcode = *at++;
      if (!inside && (opcode == ELSE || opcode == END)) break;
      if (opcode == BLOCK || opcode == LOOP || opcode == IF) inside++;
      if (opcode == END) inside--;
      skip_immediates(opcode);
    }
    *put++ = opcode;
    height = labels[depth - 1].height;
    if (opcode == END) height += labels[--depth].results;
    if (height > peak) peak = height;
    forget_reads();
  }
  *peak_found = peak;
  *nesting_found = nesting;
  *widest_found = widest;
  return (u32)first_cost;
}

static u8 *rewritten;
static u32 rewritten_length;

static u32 once(const struct type *type_of, u32 begin, u32 stop, u32 with_copies) {
  const u8 *params = type_of->params;
  u32 param_count = type_of->param_count, results = type_of->results;
  u8 result_type = (u8)type_of->result_type;
  status = OK;
  copies = with_copies;
  mixed_up = 0;
  at = in.data + begin;
  end = in.data + stop;
  local_count = param_count;
  scratch_count = 0;
  scratch_index[GAS] = NO_FUNCTION;
  for (u32 type = F64; type <= I32; type++) scratch_index[type] = NO_FUNCTION;
  for (u32 i = 0; i < param_count; i++) {
    types[i] = params[i];
    if (params[i] < F64 || params[i] > I32) return GIVE_UP;
  }
  run_count = read_unsigned();
  if (status || run_count > MAX_RUNS) return GIVE_UP;
  for (u32 i = 0; i < run_count; i++) {
    u32 count = read_unsigned();
    if (status || at >= end || count > MAX_DECLARED || local_count - param_count + count > MAX_DECLARED) return GIVE_UP;
    u8 type = *at++;
    if (type < F64 || type > I32) return GIVE_UP;
    run_counts[i] = count;
    run_types[i] = type;
    for (u32 n = 0; n < count; n++) types[local_count++] = type;
  }
  gas_local = NO_FUNCTION;
  if (local_count <= MOST_LOCALS) gas_local = scratch_of(GAS, I64);
  for (u32 i = 0; i < local_count; i++) stamps[i] = 0;
  stamp = 0;
  forget_reads();

  /* the lower part of the buffer is for the finished runs, the upper for the present one */
  u32 room = in.out_end - in.out;
  u8 *first = in.out + 16 * (run_count + 16);
  run = run_begin = in.out + room / 2;
  if (first + 64 >= run_begin) return GIVE_UP;
  put = first;
  u32 peak, nesting, widest;
  u32 first_cost = instructions(results, result_type == F32 || result_type == F64, &peak, &nesting, &widest);
  if (status) return status;
  if (at != end) return GIVE_UP;

  u32 values = local_count + peak;
  u32 weight = FRAME_UNITS + values + nesting + (stop - begin) / BYTES_PER_UNIT;
  if (values + results + widest > LARGE_FRAME) result.has |= HAS_LARGE_FRAME;
  *put++ = 0x23; put = write_unsigned(put, in.stack);
  *put++ = 0x41; put = write_signed(put, weight);
  *put++ = 0x6B; *put++ = 0x24; put = write_unsigned(put, in.stack);
  *put++ = END;

  u8 *head = in.out, *to = head;
  to = write_unsigned(to, run_count + scratch_count);
  for (u32 i = 0; i < run_count; i++) { to = write_unsigned(to, run_counts[i]); *to++ = run_types[i]; }
  for (u32 i = 0; i < scratch_count; i++) { *to++ = 1; *to++ = scratch_types[i]; }
  to = write_charge(to, 1 + first_cost, 1);
  to = write_check(to);
  *to++ = 0x23; to = write_unsigned(to, in.stack);
  *to++ = 0x41; to = write_signed(to, weight);
  *to++ = 0x6A; *to++ = 0x24; to = write_unsigned(to, in.stack);
  *to++ = 0x23; to = write_unsigned(to, in.stack);
  *to++ = 0x41; to = write_signed(to, STACK_UNITS);
  *to++ = 0x4B; *to++ = IF; *to++ = EMPTY;
  *to++ = 0x41; *to++ = FAULT_STACK; *to++ = 0x24; to = write_unsigned(to, in.fault); *to++ = UNREACHABLE;
  *to++ = END;
  *to++ = BLOCK; *to++ = results ? result_type : EMPTY;
  u32 length = to - head;
  for (u32 i = 1; i <= length; i++) first[-(i32)i] = to[-(i32)i]; /* up against the code, the last byte first */
  rewritten = first - length;
  rewritten_length = put - rewritten;
  return OK;
}

static u32 body(const struct body *asked) {
  const struct type *type = &in.types_of[asked->type];
  if (type->results > 1 || type->param_count > 1000) return GIVE_UP;
  if (type->results && (type->result_type < F64 || type->result_type > I32)) return GIVE_UP;
  u32 ended = once(type, asked->begin, asked->stop, 0);
  if (ended == OK && mixed_up) ended = once(type, asked->begin, asked->stop, 1);
  return ended == OK && rewritten_length > MAX_FUNCTION_BYTES ? GIVE_UP : ended;
}

/*
 * Rewrite bodies from `in.next` on, until one is not to be had, there is no more room, or all are done. `result` tells
 * how that ended, which is next, and the length of what is in `in.done`: each body with its length before it.
 */
EXPORT("rewrite") void rewrite(void) {
  u8 *to = in.done;
  result.has = 0;
  result.status = OK;
  for (result.next = in.next; result.next < in.body_count; result.next++) {
    u32 has = result.has;
    result.status = body(&in.bodies[result.next]);
    if (result.status != OK) { result.has = has; break; }
    if (rewritten_length + 5 > (u32)(in.done_end - to)) {
      result.has = has;
      if (to == in.done) result.status = GIVE_UP;
      break;
    }
    to = write_unsigned(to, rewritten_length);
    for (u32 i = 0; i < rewritten_length; i++) *to++ = rewritten[i];
  }
  result.length = to - in.done;
}

EXPORT("grow") void grow(void) {
  __builtin_wasm_memory_grow(0, in.pages);
}
