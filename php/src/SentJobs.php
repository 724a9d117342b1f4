<?php

declare(strict_types=1);

namespace Plasm;

/** The latest submissions of a client by job id, bounded in number. */
final class SentJobs
{
    private const MAX_REMEMBERED = 1000;

    /** @var array<string, array{Manifest, string, int}> manifest, route and bytes of the input files, by job id */
    private array $jobs = [];

    /** @var array<string, true> the trees that were sent, by PeerId and digest */
    private array $trees = [];

    public function add(Submission $job): void
    {
        unset($this->jobs[$job->id()]);
        $this->jobs[$job->id()] = [$job->manifest, $job->route, $job->files?->fileBytes() ?? 0];
        if (count($this->jobs) > self::MAX_REMEMBERED) {
            unset($this->jobs[array_key_first($this->jobs)]);
        }
    }

    /** Note that a node has taken a job, and so has its files. */
    public function placed(Submission $job, PeerId $peer): void
    {
        if ($job->files !== null) {
            $key = "$peer {$job->files->tree}";
            unset($this->trees[$key]);
            $this->trees[$key] = true;
            if (count($this->trees) > self::MAX_REMEMBERED) {
                unset($this->trees[array_key_first($this->trees)]);
            }
        }
    }

    /** Tell whether a node may have a job's files from an earlier job. */
    public function hasFiles(Submission $job, PeerId $peer): bool
    {
        return $job->files !== null && isset($this->trees["$peer {$job->files->tree}"]);
    }

    /** Return how many bytes a job's input files have together, null as for `manifest`. */
    public function fileBytes(string $jobId): ?int
    {
        return $this->jobs[$jobId][2] ?? null;
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
