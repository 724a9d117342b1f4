<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\Exception\PeerMismatch;
use Plasm\Node;
use Plasm\PeerId;
use Plasm\Submission;
use Plasm\Time\Deadline;
use Plasm\Transport\SessionInterface;
use Plasm\Transport\TransportInterface;

/**
 * A node in memory, for tests of applications: it runs nothing, but its receipts are signed.
 *
 * ```php
 * $plasm = new Plasm\Client(MockTransport::answering('dlroW ,olleH'));
 * ```
 */
final class MockTransport implements TransportInterface
{
    private readonly ReceiptSigner $signer;
    private readonly \Closure $answer;

    /** @var array<string, MockJob> by job id and token */
    private array $jobs = [];

    /** @param callable(Submission): MockAnswer $answer called once for each job; `submit` throws its exceptions */
    public function __construct(callable $answer, ?ReceiptSigner $signer = null)
    {
        $this->answer = $answer(...);
        $this->signer = $signer ?? ReceiptSigner::withFreshKey();
    }

    /** Answer every job in the same way. */
    public static function answering(string $stdout, int $exitCode = 0, string $stderr = ''): self
    {
        return new self(static fn (): MockAnswer => MockAnswer::exited($exitCode, $stdout, $stderr));
    }

    public function peer(): PeerId
    {
        return $this->signer->peer;
    }

    /**
     * Return the jobs that were submitted, in their order.
     *
     * @return list<Submission>
     */
    public function jobs(): array
    {
        return array_map(static fn (MockJob $job): Submission => $job->job, array_values($this->jobs));
    }

    public function open(?PeerId $peer, Deadline $deadline): SessionInterface
    {
        if ($peer !== null && !$peer->equals($this->peer())) {
            throw new PeerMismatch("the node that answers is {$this->peer()}, not $peer");
        }

        return new MockSession($this, $deadline);
    }

    public function discover(Deadline $deadline): array
    {
        return [new Node($this->peer(), 'mock', 'mock:')];
    }

    /** Add a job, unless it exists already. */
    public function put(Submission $job, #[\SensitiveParameter] string $token): MockJob
    {
        $key = self::key($job->id(), $token);

        return $this->jobs[$key] ??= new MockJob($job, ($this->answer)($job), $this->signer);
    }

    /** Return the job that a token opens, if there is one. */
    public function get(string $jobId, #[\SensitiveParameter] string $token): ?MockJob
    {
        return $this->jobs[self::key($jobId, $token)] ?? null;
    }

    public function drop(string $jobId, #[\SensitiveParameter] string $token): void
    {
        unset($this->jobs[self::key($jobId, $token)]);
    }

    private static function key(string $jobId, #[\SensitiveParameter] string $token): string
    {
        return "$jobId/" . hash('sha256', $token);
    }
}
