<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\JobFailed;
use Plasm\Files\ResultFiles;
use Plasm\Output\Collected;
use Plasm\Output\Spool;
use Plasm\Protocol\Channel;

/** A job's verified result. There is no result whose receipt does not verify: that is an exception. */
final readonly class JobResult implements \Stringable
{
    public Receipt $receipt;
    public Verdict $verdict;
    public Outcome $outcome;

    /** The exit code, if the job exited by itself. */
    public ?int $exitCode;

    /** The signed receipt's bytes, to keep and to give to others for verification. */
    public string $envelopeJson;

    /** @var list<string> files that prove that nodes signed different receipts of this task: `plasm verify --fraud` */
    public array $fraudProofs;

    /**
     * @param list<string> $fraudProofs
     * @param ResultFiles $files the files that the job left of its outputs, by their paths
     * @param Manifest|null $earlier the manifest of the earlier job of an equal task whose result this is: nothing was
     *                               run (the client's `reuse`); null if the job was run
     */
    public function __construct(
        VerifiedReceipt $verified,
        private Collected $output,
        array $fraudProofs = [],
        public ResultFiles $files = new ResultFiles(),
        public ?Manifest $earlier = null,
    ) {
        $this->fraudProofs = $fraudProofs;
        $this->receipt = $verified->receipt;
        $this->verdict = $verified->verdict;
        $this->outcome = $verified->receipt->observed->outcome;
        $this->exitCode = $this->outcome->code;
        $this->envelopeJson = $verified->envelopeJson;
    }

    /**
     * Return a copy with the verifiers' verdict and the fraud proofs.
     *
     * @param list<string> $fraudProofs
     */
    public function verified(Verdict $verdict, array $fraudProofs): self
    {
        $verified = new VerifiedReceipt($this->receipt, $verdict, $this->envelopeJson);

        return new self($verified, $this->output, $fraudProofs, $this->files, $this->earlier);
    }

    /** Tell whether nothing was run: this is the verified result that an equal task had before. */
    public function reused(): bool
    {
        return $this->earlier !== null;
    }

    /** Tell whether the job succeeded: it exited with code 0. */
    public function ok(): bool
    {
        return $this->outcome->ok();
    }

    /**
     * Return the same result if the job exited with code 0.
     *
     * @throws JobFailed if it did not
     */
    public function orFail(): self
    {
        return $this->ok() ? $this : throw new JobFailed($this);
    }

    public function stdout(): string
    {
        return $this->spool(Channel::Stdout)->contents();
    }

    public function stderr(): string
    {
        return $this->spool(Channel::Stderr)->contents();
    }

    /**
     * Return stdout as a stream at its beginning, for output that does not fit into memory.
     *
     * @return resource the same one each time
     */
    public function stdoutStream()
    {
        return $this->spool(Channel::Stdout)->stream();
    }

    /** @return resource the same one each time */
    public function stderrStream()
    {
        return $this->spool(Channel::Stderr)->stream();
    }

    public function __toString(): string
    {
        return $this->stdout();
    }

    private function spool(Channel $channel): Spool
    {
        return $this->output->spool($channel);
    }
}
