<?php

declare(strict_types=1);

namespace Plasm;

/** The latest submissions of a client by job id, bounded in number. */
final class SentJobs
{
    private const MAX_REMEMBERED = 1000;

    /** @var array<string, array{Manifest, string}> manifest and route, by job id */
    private array $jobs = [];

    public function add(Submission $job): void
    {
        unset($this->jobs[$job->id()]);
        $this->jobs[$job->id()] = [$job->manifest, $job->route];
        if (count($this->jobs) > self::MAX_REMEMBERED) {
            unset($this->jobs[array_key_first($this->jobs)]);
        }
    }

    /** Return the manifest of a job, null if this client did not submit it, or too long ago. */
    public function manifest(string $jobId): ?Manifest
    {
        return $this->jobs[$jobId][0] ?? null;
    }

    /** Return the route of a job, `here` or `network`, null as for `manifest`. */
    public function route(string $jobId): ?string
    {
        return $this->jobs[$jobId][1] ?? null;
    }
}
