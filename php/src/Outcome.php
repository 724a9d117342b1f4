<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Record\Fields;
use Plasm\Record\Printable;

/** How a run ended. */
final readonly class Outcome implements \Stringable
{
    public const TRAPS = [
        'unreachable',
        'memory_out_of_bounds',
        'table_out_of_bounds',
        'indirect_call_to_null',
        'bad_signature',
        'integer_overflow',
        'integer_division_by_zero',
        'bad_conversion_to_integer',
        'stack_exhausted',
        'uncaught_exception',
        'null_reference',
    ];

    /**
     * @param int|null $code the exit code, with `Exited` and only with it
     * @param string|null $trap one of `TRAPS`, with `Trapped` and only with it
     * @param string|null $detail the node's words, only if the outcome is the node's claim
     */
    private function __construct(
        public OutcomeKind $kind,
        public ?int $code = null,
        public ?string $trap = null,
        public ?string $detail = null,
    ) {
    }

    public static function exited(int $code): self
    {
        return new self(OutcomeKind::Exited, code: $code);
    }

    /** @param value-of<self::TRAPS> $trap */
    public static function trapped(string $trap): self
    {
        return new self(OutcomeKind::Trapped, trap: $trap);
    }

    public static function outOfGas(): self
    {
        return new self(OutcomeKind::OutOfGas);
    }

    public static function cancelled(?string $detail = null): self
    {
        return new self(OutcomeKind::Cancelled, detail: $detail);
    }

    public static function timedOut(?string $detail = null): self
    {
        return new self(OutcomeKind::TimedOut, detail: $detail);
    }

    public static function systemError(?string $detail = null): self
    {
        return new self(OutcomeKind::SystemError, detail: $detail);
    }

    /** Return the state that a job is in once it has ended so. */
    public function state(): JobState
    {
        return match (true) {
            $this->ok() => JobState::Complete,
            $this->kind === OutcomeKind::Cancelled => JobState::Canceled,
            $this->kind === OutcomeKind::SystemError => JobState::SystemError,
            default => JobState::ExecutorError,
        };
    }

    /** Read an outcome, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        $kind = OutcomeKind::from($fields->oneOf('kind', array_column(OutcomeKind::cases(), 'value')));
        $code = $fields->has('code') ? $fields->integer('code', 0, 0xFFFF_FFFF) : null;
        $trap = $fields->has('trap') ? $fields->oneOf('trap', self::TRAPS) : null;
        $detail = $fields->has('detail')
            ? $fields->matching('detail', '[^\x00-\x1f]{0,512}', 'a string of at most 512 characters')
            : null;
        if (($code !== null) !== ($kind === OutcomeKind::Exited)) {
            $fields->problem('code', 'code goes with exited, and only with it');
        }
        if (($trap !== null) !== ($kind === OutcomeKind::Trapped)) {
            $fields->problem('trap', 'trap goes with trapped, and only with it');
        }
        if ($detail !== null && $kind->recheckable()) {
            $fields->problem('detail', 'detail goes with timed_out, cancelled and system_error only');
        }

        return new self($kind, $code, $trap, $detail);
    }

    /** Tell whether the job succeeded: it exited with code 0. */
    public function ok(): bool
    {
        return $this->kind === OutcomeKind::Exited && $this->code === 0;
    }

    public function __toString(): string
    {
        $words = str_replace('_', ' ', $this->kind->value);

        return match (true) {
            $this->kind === OutcomeKind::Exited => "exited with code $this->code",
            $this->kind === OutcomeKind::Trapped => "trapped: $this->trap",
            $this->detail !== null && $this->detail !== '' => Printable::visible("$words: $this->detail"),
            default => $words,
        };
    }
}
