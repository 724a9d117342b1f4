/** Rewrites one function's body: charges, checks, canonical NaNs. Dead code is left out. */
import { BadModuleError } from "../errors.js";
import { malformed, Output, Reader, signed, unsigned } from "./binary.js";
import { checkType, functionType } from "./module.js";
import * as op from "./opcodes.js";
const I32 = 0x7f, V128 = 0x7b, SAVED_STACK = -1, EMPTY = -0x40, STACK_UNITS = 262_144, FRAME_UNITS = 4, BYTES_PER_UNIT = 128, MAX_DECLARED = 50_000, HAS_MEMORY_INDEX = 0x40;
export const FAULT_STACK = 1, FAULT_GROWTH = 2, FAULT_NULL_CALL = 3, FAULT_CONVERSION = 4;
export class Body {
    rewriter;
    kind;
    reader;
    out = new Output();
    run = new Output();
    labels = [];
    declared = [];
    scratch = new Map();
    locals = 0;
    copied = 0;
    cost = 0;
    height = 0;
    peak = 0;
    nesting = 0;
    /** Restores the stack's height where an exception handler begins; empty if there is none. */
    restore = [];
    /** Where in `out` code is to be inserted: `restore`, or what lowers the stack's height before a tail call. */
    patches = [];
    callBytes = 0;
    sizeBytes;
    constructor(rewriter, kind, reader) {
        this.rewriter = rewriter;
        this.kind = kind;
        this.reader = reader;
        this.sizeBytes = reader.end - reader.position;
    }
    rewrite() {
        const { rewriter, kind } = this;
        this.readLocals();
        this.copied = this.reader.position;
        this.open(op.BLOCK, 0, kind.results.length);
        this.nesting = 0;
        const first = this.instructions();
        const weight = FRAME_UNITS + this.locals + this.peak + this.nesting + Math.floor(this.sizeBytes / BYTES_PER_UNIT);
        const whole = new Output();
        whole.append(unsigned(this.declared.length));
        for (const group of this.declared)
            whole.append(group);
        whole.append(this.charge(1 + first));
        whole.append(rewriter.checkGas);
        // stack += weight; if above the limit: fault
        whole.push(0x23, ...rewriter.stack, 0x41, ...signed(weight), 0x6a, 0x24, ...rewriter.stack);
        whole.push(0x23, ...rewriter.stack, 0x41, ...signed(STACK_UNITS), 0x4b, 0x04, 0x40, ...rewriter.fault(FAULT_STACK), 0x0b);
        if (this.restore.length > 0)
            whole.push(0x23, ...rewriter.stack, 0x21, ...this.local(SAVED_STACK));
        whole.push(0x02, ...rewriter.resultBlock(kind.results));
        const left = [0x23, ...rewriter.stack, 0x41, ...signed(weight), 0x6b, 0x24, ...rewriter.stack];
        let done = 0;
        for (const { at, leaves } of this.patches.sort((one, other) => one.at - other.at)) {
            whole.append(this.out.bytes.subarray(done, at));
            whole.append(leaves ? left : this.restore);
            done = at;
        }
        whole.append(this.out.bytes.subarray(done));
        whole.push(...left, 0x0b);
        return whole.bytes;
    }
    open(opcode, params, results) {
        this.labels.push({ height: this.height - params, params, results, opcode, start: 0, catches: false });
        this.nesting = Math.max(this.nesting, this.labels.length - 1);
    }
    readLocals() {
        this.locals = this.kind.params.length;
        for (let left = this.reader.count(); left > 0; left--) {
            const count = this.reader.unsigned(), type = checkType(this.reader.byte());
            this.declared.push([...unsigned(count), type]);
            this.locals += count;
        }
        if (this.locals - this.kind.params.length > MAX_DECLARED)
            throw malformed("a function has too many locals");
    }
    local(type) {
        let index = this.scratch.get(type);
        if (index === undefined) {
            index = unsigned(this.locals + this.scratch.size);
            this.scratch.set(type, index);
            this.declared.push([1, type === SAVED_STACK ? I32 : type]);
        }
        return index;
    }
    charge(cost) {
        const { gas } = this.rewriter;
        return cost === 0 ? [] : [0x23, ...gas, 0x42, ...signed(cost), 0x7d, 0x24, ...gas];
    }
    move(effect) {
        this.height += effect;
        if (this.height > this.peak)
            this.peak = this.height;
    }
    /** Put a replacement in place of the original from `start` to the reader's position. */
    replace(start, ...replacement) {
        this.run.append(this.reader.data.subarray(this.copied, start));
        this.run.append(replacement);
        this.copied = this.reader.position;
    }
    /** Rewrite all instructions into `out`. Return the first run's cost, which the caller charges. */
    instructions() {
        const { reader } = this;
        let first = -1, inLoop = false;
        while (this.labels.length > 0) {
            const start = reader.position, opcode = reader.byte(), follows = op.FOLLOWS[opcode];
            const caught = opcode === op.END && this.labels.at(-1)?.catches === true;
            this.cost += op.COST[opcode];
            let ended;
            if (follows === op.SPECIAL)
                ended = this.special(opcode, start);
            else {
                if (follows === op.INVALID)
                    throw this.unknown(`0x${opcode.toString(16)}`);
                this.skipImmediates(follows);
                this.move(op.EFFECT[opcode]);
                this.plain(opcode, start);
            }
            if (ended === undefined)
                continue;
            if (first < 0)
                first = this.cost;
            else {
                this.out.append(this.charge(this.cost));
                if (inLoop)
                    this.out.append(this.rewriter.checkGas);
            }
            this.out.append(this.run.bytes);
            this.out.append(reader.data.subarray(this.copied, reader.position));
            this.run.clear();
            this.copied = reader.position;
            this.cost = 0;
            inLoop = opcode === op.LOOP;
            if (inLoop)
                this.labels.at(-1).start = this.out.length;
            else if (caught)
                this.out.append(this.restore);
            else if (ended === "leaves")
                this.patches.push({ at: this.out.length - this.callBytes, leaves: true });
            if (ended !== "live")
                this.skipDead();
        }
        if (!reader.done)
            throw malformed("code follows a function's end");
        return first;
    }
    unknown(opcode) {
        return new BadModuleError("feature", `the module uses an instruction that jobs may not use (${opcode})`);
    }
    skipImmediates(follows) {
        if (follows >= op.BYTES)
            this.reader.bytes(follows & 0x7f);
        else {
            if (follows === op.MEMARG)
                this.checkMemarg();
            this.reader.skip(follows);
        }
    }
    /** Check that two integers follow a load or store, alignment and offset: where memories have indices, there can be three. */
    checkMemarg() {
        if (((this.reader.data[this.reader.position] ?? 0) & HAS_MEMORY_INDEX) !== 0)
            throw new BadModuleError("feature", "the module uses several memories");
    }
    /** What is put behind or before an instruction that keeps its place. */
    plain(opcode, start) {
        const float = op.F32_ARITHMETIC.has(opcode) ? 0x7d : op.F64_ARITHMETIC.has(opcode) ? 0x7c : undefined;
        if (float !== undefined) {
            const local = this.local(float), nan = float === 0x7d ? op.F32_NAN : op.F64_NAN;
            // local.tee x; nan; local.get x; local.get x; eq; select
            this.replace(start, opcode, 0x22, ...local, ...nan, 0x20, ...local, 0x20, ...local, float === 0x7d ? 0x5b : 0x61, 0x1b);
        }
        const truncated = op.TRUNCATIONS.get(opcode);
        if (truncated !== undefined)
            this.replace(start, 0x10, ...this.rewriter.nanCheck(truncated), opcode);
    }
    special(opcode, start) {
        const { reader, rewriter } = this;
        switch (opcode) {
            case op.BLOCK:
            case op.LOOP:
            case op.IF: {
                if (opcode === op.IF)
                    this.move(-1);
                const { params, results } = this.blockType();
                this.open(opcode, params, results);
                return opcode === op.BLOCK ? undefined : "live";
            }
            case op.ELSE:
            case op.END:
                this.leave(opcode);
                return "live";
            case op.BR_IF:
                reader.skip(1);
                this.move(-1);
                return "live";
            case op.BR:
                reader.skip(1);
                return "dead";
            case op.BR_TABLE:
                reader.skip(reader.count() + 1);
                return "dead";
            case op.RETURN:
                this.replace(start, 0x0c, ...unsigned(this.labels.length - 1));
                return "dead";
            case op.UNREACHABLE:
                return "dead";
            case op.CALL:
            case op.RETURN_CALL: {
                const { params, results } = functionType(rewriter.module, reader.unsigned());
                this.move(results.length - params.length);
                this.callBytes = reader.position - start;
                return this.called(opcode === op.RETURN_CALL);
            }
            case op.CALL_INDIRECT:
            case op.RETURN_CALL_INDIRECT: {
                const type = reader.unsigned(), table = reader.unsigned(), kind = rewriter.module.types[type];
                if (kind === undefined)
                    throw malformed("a type index is out of range");
                this.move(kind.results.length - kind.params.length - 1);
                const call = [opcode, ...unsigned(type), ...unsigned(table)];
                this.callBytes = call.length;
                this.replace(start, 0x10, ...rewriter.nullCheck(table), ...call);
                return this.called(opcode === op.RETURN_CALL_INDIRECT);
            }
            case op.TRY_TABLE:
                this.tryTable();
                return undefined;
            case op.THROW: {
                const type = rewriter.module.tags[reader.unsigned()];
                if (type === undefined)
                    throw malformed("a tag index is out of range");
                this.move(-(rewriter.module.types[type]?.params.length ?? 0));
                return this.thrown();
            }
            case op.THROW_REF:
                this.move(-1);
                return this.thrown();
            case op.REF_NULL:
                checkType(reader.byte());
                this.move(1);
                return undefined;
            case op.MEMORY_GROW:
                reader.skip(1);
                this.replace(start, 0x10, ...rewriter.grow);
                return undefined;
            case op.SELECT_T:
                reader.bytes(reader.unsigned()).forEach(checkType);
                this.move(-2);
                return undefined;
            case op.PREFIX_FC:
                this.prefixFc(start);
                return undefined;
            default:
                this.prefixFd(start);
                return undefined;
        }
    }
    blockType() {
        const value = Number(this.reader.signed());
        if (value === EMPTY)
            return { params: 0, results: 0 };
        if (value < 0) {
            checkType(value & 0x7f);
            return { params: 0, results: 1 };
        }
        const kind = this.rewriter.module.types[value];
        if (kind === undefined)
            throw malformed("a type index is out of range");
        return { params: kind.params.length, results: kind.results.length };
    }
    called(tail) {
        if (!tail)
            return "live";
        this.rewriter.tailCalls = true;
        return "leaves";
    }
    thrown() {
        this.rewriter.exceptions = true;
        this.cost += op.THROW_GAS;
        return "dead";
    }
    /**
     * Take the head of a block with exception handlers, and have the stack's height restored where they begin: a throw
     * leaves functions without lowering it. Other ways lead there, too, on which it is what it was at the function's
     * start already.
     */
    tryTable() {
        this.rewriter.exceptions = true;
        const { params, results } = this.blockType();
        const handlers = this.reader.count();
        this.cost += handlers; // a throw compares its tag with those of all the handlers on its way
        for (let left = handlers; left > 0; left--) {
            const label = this.labels.at(-1 - this.handler());
            if (label === undefined)
                throw malformed("an exception handler is outside its function");
            if (!label.catches && label.opcode === op.LOOP)
                this.patches.push({ at: label.start, leaves: false });
            label.catches = true;
            if (this.restore.length === 0)
                this.restore = [0x20, ...this.local(SAVED_STACK), 0x24, ...this.rewriter.stack];
        }
        this.open(op.TRY_TABLE, params, results);
    }
    /** Read one handler. Return the depth of its label, outside the block. */
    handler() {
        const kind = this.reader.byte();
        if (kind > 3)
            throw malformed("an exception handler is of an unknown kind");
        if (kind < 2)
            this.reader.skip(1);
        return this.reader.unsigned();
    }
    leave(opcode) {
        const label = this.labels.at(-1);
        if (opcode === op.ELSE) {
            this.height = label.height + label.params;
            return;
        }
        this.labels.pop();
        this.height = label.height + label.results;
        this.peak = Math.max(this.peak, this.height);
    }
    prefixFc(start) {
        const number = this.reader.unsigned(), found = op.FC.get(number);
        if (found === undefined)
            throw this.unknown(`0xfc ${number}`);
        const [count, effect] = found, before = this.reader.position;
        this.reader.skip(count);
        this.move(effect);
        if (number === op.TABLE_GROW) {
            const table = new Reader(this.reader.data, before).unsigned();
            this.replace(start, 0x10, ...this.rewriter.tableGrow(table));
        }
        else if (op.OPERAND_CHARGED.has(number)) {
            this.replace(start, 0x10, ...this.rewriter.charge, ...this.reader.data.subarray(start, this.reader.position));
        }
    }
    prefixFd(start) {
        const number = this.reader.unsigned(), found = op.FD.get(number);
        if (found === undefined)
            throw this.unknown(`0xfd ${number}`);
        const [memarg, following, effect] = found;
        if (memarg)
            this.checkMemarg();
        this.reader.skip(memarg ? 2 : 0);
        this.reader.bytes(following);
        this.move(effect);
        const lanes = op.FLOAT_LANES.get(number);
        if (lanes === undefined)
            return;
        const [nan, equal] = lanes, local = this.local(V128);
        // local.tee x; v128.const nan; local.get x; local.get x; eq; bitselect
        const original = this.reader.data.subarray(start, this.reader.position);
        this.replace(start, ...original, 0x22, ...local, ...nan, 0x20, ...local, 0x20, ...local, 0xfd, equal, 0xfd, 0x52);
    }
    /**
     * Leave out what cannot be reached, up to the `else` or `end` that ends it, and take that.
     *
     * An instruction that jobs may not use is refused here, too: the engine takes more of them than are known here, and
     * with one whose immediates are not known, what follows would be misread, and a guest could hide code in it that no
     * validation saw.
     */
    skipDead() {
        const { reader } = this;
        for (let depth = 0;;) {
            const opcode = reader.byte(), follows = op.FOLLOWS[opcode];
            if (depth === 0 && (opcode === op.ELSE || opcode === op.END)) {
                const caught = opcode === op.END && this.labels.at(-1)?.catches === true;
                this.leave(opcode);
                this.out.push(opcode);
                if (caught)
                    this.out.append(this.restore);
                this.copied = reader.position;
                return;
            }
            if (opcode === op.BLOCK || opcode === op.LOOP || opcode === op.IF || opcode === op.TRY_TABLE) {
                this.blockType();
                depth++;
                if (opcode !== op.TRY_TABLE)
                    continue;
                this.rewriter.exceptions = true;
                for (let left = reader.count(); left > 0; left--)
                    this.handler();
            }
            else if (opcode === op.END)
                depth--;
            else if (follows === op.INVALID)
                throw this.unknown(`0x${opcode.toString(16)}`);
            else if (follows !== op.SPECIAL)
                this.skipImmediates(follows);
            else
                this.skipSpecial(opcode);
        }
    }
    skipSpecial(opcode) {
        const { reader } = this;
        if ([op.BR, op.BR_IF, op.CALL, op.MEMORY_GROW].includes(opcode))
            reader.skip(1);
        else if (opcode === op.CALL_INDIRECT)
            reader.skip(2);
        else if (opcode === op.THROW || opcode === op.THROW_REF) {
            this.rewriter.exceptions = true;
            reader.skip(opcode === op.THROW ? 1 : 0);
        }
        else if (opcode === op.RETURN_CALL || opcode === op.RETURN_CALL_INDIRECT) {
            this.rewriter.tailCalls = true;
            reader.skip(opcode === op.RETURN_CALL ? 1 : 2);
        }
        else if (opcode === op.REF_NULL)
            checkType(reader.byte());
        else if (opcode === op.BR_TABLE)
            reader.skip(reader.count() + 1);
        else if (opcode === op.SELECT_T)
            reader.bytes(reader.unsigned()).forEach(checkType);
        else if (opcode === op.PREFIX_FC) {
            const number = reader.unsigned(), found = op.FC.get(number);
            if (found === undefined)
                throw this.unknown(`0xfc ${number}`);
            reader.skip(found[0]);
        }
        else if (opcode === op.PREFIX_FD) {
            const number = reader.unsigned(), found = op.FD.get(number);
            if (found === undefined)
                throw this.unknown(`0xfd ${number}`);
            const [memarg, following] = found;
            if (memarg)
                this.checkMemarg();
            reader.skip(memarg ? 2 : 0);
            reader.bytes(following);
        }
    }
}
