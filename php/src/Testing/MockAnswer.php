<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\Outcome;

/** The answer of a `MockTransport` to a job. */
final readonly class MockAnswer
{
    /**
     * @param Outcome|null $outcome null while the job runs
     * @param string|null $sentStdout the stdout to send in place of the signed one
     * @param string|null $sentEnvelope the envelope to send in place of the signed one
     * @param array<string, string|array<string, string>> $files outputs by their paths: a file's bytes, or the files that
     *     are in a directory
     * @param array<string, string|array<string, string>>|null $sentFiles the outputs to send in place of the signed
     *     ones
     * @param Outcome|null $toldOutcome the outcome in the node's status, in place of the signed one
     */
    private function __construct(
        public ?Outcome $outcome,
        public string $stdout = '',
        public string $stderr = '',
        public ?string $sentStdout = null,
        public ?string $sentEnvelope = null,
        public ?Outcome $toldOutcome = null,
        public array $files = [],
        public ?array $sentFiles = null,
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

    /**
     * Answer that the job left these of its outputs.
     *
     * @param array<string, string|array<string, string>> $files by path: a file's bytes, or the files that are in a directory
     */
    public function withFiles(array $files): self
    {
        return $this->with(['files' => $files]);
    }

    /**
     * Send other files than were signed: the client must raise `FilesNotServed`.
     *
     * @param array<string, string|array<string, string>> $files as in `withFiles`
     */
    public function withForgedFiles(array $files): self
    {
        return $this->with(['sentFiles' => $files]);
    }

    /** Send another stdout than was signed: the client must raise `WrongOutput`. */
    public function withForgedStdout(string $stdout): self
    {
        return $this->with(['sentStdout' => $stdout]);
    }

    /** Send something else as the receipt: the client must raise `ReceiptRejected`. */
    public function withForgedReceipt(string $envelopeJson): self
    {
        return $this->with(['sentEnvelope' => $envelopeJson]);
    }

    /** Tell another end of the job than was signed: the client must raise `ContradictoryReceipt`. */
    public function withForgedOutcome(Outcome $told): self
    {
        return $this->with(['toldOutcome' => $told]);
    }

    /** @param array<string, mixed> $changed */
    private function with(array $changed): self
    {
        return new self(...[...get_object_vars($this), ...$changed]);
    }
}
