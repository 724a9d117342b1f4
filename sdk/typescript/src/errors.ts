/** The root of this package's errors. `hint` says what to do about it. */
export class PlasmError extends Error {
  readonly hint: string | undefined;

  constructor(message: string, options: { hint?: string | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.hint = options.hint;
  }
}

/** A document is invalid. `path`: where in it, such as `predicate.asked.module`; empty for all of it. */
export class InvalidRecordError extends PlasmError {
  constructor(
    readonly record: string,
    readonly path: string,
    readonly problem: string,
  ) {
    super(`invalid ${record}: ${path === "" ? "" : `${path}: `}${problem}`);
  }
}

/** A module cannot be run here. `reason`: a stable word, such as `malformed` or `feature`. */
export class BadModuleError extends PlasmError {
  constructor(
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

/** The platform lacks a feature that the package needs. */
export class PlatformError extends PlasmError {}

/** The server cannot be reached, or it ended the connection. */
export class UnreachableError extends PlasmError {}

/** A call's deadline passed. The message says what had not happened by then. */
export class WaitTimeoutError extends PlasmError {}

/** An answer is larger than the limit. */
export class TooLargeError extends PlasmError {
  constructor(what: string, maximum: number) {
    super(`${what} has more than the ${maximum} bytes that are read here`, { hint: "read it by other means, such as curl" });
  }
}

/** The server refused a request: an RFC 9457 problem. `code` is stable, `reason` the protocol's, if there is one. */
export class ProblemError extends PlasmError {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly reason: string | undefined,
    hint: string | undefined,
    readonly retryAfterS: number | undefined = undefined,
  ) {
    super(message, { hint });
  }
}

/** A receipt or an output was rejected. `reasons`: all of them. */
export class ReceiptRejectedError extends PlasmError {
  constructor(readonly reasons: readonly string[]) {
    super(`the receipt is rejected: ${reasons.join("; ")}`);
  }
}
