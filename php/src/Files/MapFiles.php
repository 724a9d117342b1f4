<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\Submission;
use Plasm\Time\Deadline;
use Plasm\Transport\Session;

/**
 * The options of the jobs of a map: the files that all of them have in common are read once.
 *
 * One job brings them to a node; those that follow it prove that the client has them.
 */
final class MapFiles
{
    private ?PackedFiles $packed = null;
    private bool $isBeingSent = false;
    private bool $isSent = false;
    private readonly Signal $changed;

    /** @param array<string, mixed> $options for all jobs */
    public function __construct(private readonly array $options, Loop $loop)
    {
        $this->changed = new Signal($loop);
    }

    /**
     * Run a job, once no other is about to bring the same files.
     *
     * @template T
     *
     * @param \Closure(\Closure(): void): T $run takes what it calls when a node has accepted the job
     *
     * @return T
     */
    public function after(?Pack $files, \Closure $run): mixed
    {
        if ($files === null || $files !== $this->packed?->pack || $files->size() < Session::POSSESSION_BYTES) {
            return $run(static fn (): mixed => null);
        }
        while ($this->isBeingSent) {
            $this->changed->wait(Deadline::after(INF), 'the files to be sent'); // bounded by the job that sends them
        }
        $isFirst = !$this->isSent;
        $this->isBeingSent = $isFirst;
        $end = function (bool $isSent) use (&$isFirst): void {
            if ($isFirst) {
                $isFirst = $this->isBeingSent = false;
                $this->isSent = $isSent;
                $this->changed->notify();
            }
        };
        try {
            return $run(static fn () => $end(true));
        } finally {
            $end(false);
        }
    }

    /**
     * Return the options of one job, with its own files added to those of all jobs.
     *
     * @param array<string, mixed> $own
     *
     * @return array<string, mixed>
     */
    public function with(array $own): array
    {
        $isOf = static fn (array $options): bool => array_intersect_key($options, array_flip(Submission::FILE_OPTIONS)) !== [];
        if (!$isOf($this->options) || $isOf($own)) {
            $both = [...$this->options, ...$own];
            $files = [$this->options['files'] ?? null, $own['files'] ?? null];
            if (is_array($files[0]) && is_array($files[1])) {
                $both['files'] = $files[1] + $files[0];
            }

            return $both;
        }
        $others = array_diff_key($this->options, array_flip(Submission::FILE_OPTIONS));
        $this->packed ??= Submission::packed($this->options);

        return [...$others, ...$own, 'files' => $this->packed];
    }
}
