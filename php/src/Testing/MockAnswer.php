<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\Outcome;

/** What a `MockTransport` makes of a job. */
final readonly class MockAnswer
{
    /**
     * @param Outcome|null $outcome null while the job runs
     * @param string|null $sentStdout what is sent in place of the stdout that was signed
     * @param string|null $sentEnvelope what is sent in place of the signed receipt
     * @param Outcome|null $toldOutcome how the node says that the job ended, in place of what it signed
     */
    private function __construct(
        public ?Outcome $outcome,
        public string $stdout = '',
        public string $stderr = '',
        public ?string $sentStdout = null,
        public ?string $sentEnvelope = null,
        public ?Outcome $toldOutcome = null,
    ) {
    }

    public static function exited(int $code = 0, string $stdout = '', string $stderr = ''): self
    {
        return new self(Outcome::exited($code), $stdout, $stderr);
    }

    public static function ended(Outcome $outcome, string $stdout = '', string $stderr = ''): self
    {
        return new self($outcome, $stdout, $stderr);
    }

    /** Answer that the job runs, until it is cancelled. */
    public static function running(): self
    {
        return new self(null);
    }

    /** Send another stdout than was signed: the client must raise `WrongOutput`. */
    public function withForgedStdout(string $stdout): self
    {
        return new self($this->outcome, $this->stdout, $this->stderr, $stdout, $this->sentEnvelope, $this->toldOutcome);
    }

    /** Send something else as the receipt: the client must raise `ReceiptRejected`. */
    public function withForgedReceipt(string $envelopeJson): self
    {
        return new self($this->outcome, $this->stdout, $this->stderr, $this->sentStdout, $envelopeJson, $this->toldOutcome);
    }

    /** Tell another end of the job than was signed: the client must raise `ContradictoryReceipt`. */
    public function withForgedOutcome(Outcome $told): self
    {
        return new self($this->outcome, $this->stdout, $this->stderr, $this->sentStdout, $this->sentEnvelope, $told);
    }
}
