<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\InvalidArgument;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\TaskGroup;
use Plasm\Time\Deadline;

/** Runs several jobs at once, each in its own fiber, for `Client::map()`. */
final class JobMap
{
    /** So many results may wait for one before them. */
    private const AHEAD = 4;
    private const MAX_IN_FLIGHT = 256;

    /** @var array<int, Handle> by the number of the job: where it was accepted last */
    private array $accepted = [];

    /**
     * @param int $inFlight how many jobs at once
     * @param bool $ordered whether results come in the order of the inputs
     * @param bool $errors whether the error of a job without a result is yielded in its place, and not thrown
     *
     * @throws InvalidArgument
     */
    public function __construct(
        private readonly Loop $loop,
        private readonly int $inFlight,
        private readonly bool $ordered,
        private readonly bool $errors,
    ) {
        if ($inFlight < 1 || $inFlight > self::MAX_IN_FLIGHT) {
            throw new InvalidArgument('in_flight: expected a number from 1 to ' . self::MAX_IN_FLIGHT);
        }
    }

    /**
     * Yield the result of each input, under the input's key.
     *
     * @template TKey
     *
     * @param iterable<TKey, mixed> $inputs read only when there is room for a job
     * @param \Closure(mixed, \Closure(Handle): void): JobResult $run runs the job of an input; it says where the job is
     * @param \Closure(list<Handle>): void $withdraw cancels jobs whose results are no longer needed
     *
     * @return \Generator<TKey, JobResult|ExceptionInterface>
     */
    public function results(iterable $inputs, \Closure $run, \Closure $withdraw): \Generator
    {
        /** @var TaskGroup<JobResult> $tasks */
        $tasks = new TaskGroup($this->loop);
        $source = (static fn () => yield from $inputs)();
        $keys = $ended = [];
        $begun = $given = 0;
        try {
            while (true) {
                while ($tasks->count() < $this->inFlight && $begun - $given < self::AHEAD * $this->inFlight && $source->valid()) {
                    $keys[$begun] = $source->key();
                    $this->begin($tasks, $begun++, $source->current(), $run);
                    $source->next();
                }
                if ($tasks->count() === 0) {
                    return;
                }
                [$number, $result, $error] = $tasks->next(Deadline::after(INF), 'a job to end');
                $ended[(int) $number] = $result ?? $this->problem($error);
                foreach ($this->ready($ended, $given) as $ready) {
                    $found = $ended[$ready];
                    $key = $keys[$ready];
                    unset($ended[$ready], $keys[$ready], $this->accepted[$ready]);
                    ++$given;
                    if ($found instanceof \Throwable && !$this->errors) {
                        throw $found;
                    }
                    yield $key => $found;
                }
            }
        } finally {
            $tasks->cancel();
            $withdraw(array_values(array_diff_key($this->accepted, $ended)));
        }
    }

    /** @param TaskGroup<JobResult> $tasks */
    private function begin(TaskGroup $tasks, int $number, mixed $input, \Closure $run): void
    {
        $tasks->start((string) $number, fn (): JobResult => $run($input, function (Handle $handle) use ($number): void {
            $this->accepted[$number] = $handle;
        }));
    }

    /**
     * Return the numbers of the results that may be given now.
     *
     * @param array<int, JobResult|ExceptionInterface> $ended
     *
     * @return iterable<int>
     */
    private function ready(array $ended, int $given): iterable
    {
        if (!$this->ordered) {
            return array_keys($ended);
        }
        $ready = [];
        for ($number = $given; isset($ended[$number]); ++$number) {
            $ready[] = $number;
        }

        return $ready;
    }

    /** Return an error that belongs to one job. An error that is not this client's ends all jobs. */
    private function problem(?\Throwable $error): ExceptionInterface
    {
        return $error instanceof ExceptionInterface ? $error : throw $error ?? new \LogicException('a job ended without a result');
    }
}
