<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\ConnectionLost;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\NoDaemon;
use Plasm\Exception\PeerMismatch;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Exception\Unreachable;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;

/**
 * Repeats a call if that is safe and may help.
 *
 * Every call of the protocol is safe: a repeated submission is the same job, and a repeated `attach` continues at the
 * offset that was reached.
 */
final readonly class Retries
{
    /** Seconds. A connection that lasted this long before it broke resets the count of failures. */
    private const LASTED_S = 30.0;

    /** How long a silent daemon of this machine is asked again; for a job at least its wall time. */
    private const SILENCE_S = 60.0;

    public function __construct(private RetryPolicy $policy, private ClockInterface $clock)
    {
    }

    /**
     * @template T
     *
     * @param \Closure(): T $call
     * @param bool $knowsDaemon whether there was a daemon before, which may be restarting
     * @param float|null $patienceS try again until the node was away for so long, however often; null for the policy's
     *                              number of attempts
     * @param float $wallTimeS the job's, for which a daemon that says nothing is asked again
     *
     * @return T
     */
    public function run(
        Deadline $deadline,
        \Closure $call,
        bool $knowsDaemon = true,
        ?float $patienceS = null,
        float $wallTimeS = 0.0,
    ): mixed {
        $awaySince = null;
        for ($attempt = 1; ; ++$attempt) {
            $began = $this->clock->now();
            try {
                return $call();
            } catch (Refused | Unreachable | ConnectionLost | TimedOut $exception) {
                if (!$this->mayHelp($exception, $knowsDaemon)) {
                    throw $exception;
                }
            }
            $now = $this->clock->now();
            if ($exception instanceof ConnectionLost && $now - $began >= min(self::LASTED_S, $patienceS ?? INF)) {
                $attempt = 1;
                $awaySince = null;
            }
            $awaySince ??= $exception instanceof TimedOut ? $now - $exception->seconds : $now;
            $isSilent = $exception instanceof TimedOut && $exception->isLocal && $this->policy->attempts > 1;
            $within = $patienceS ?? ($isSilent ? max(self::SILENCE_S, $wallTimeS) : null);
            $isLast = $within === null ? $attempt >= $this->policy->attempts : $now - $awaySince >= $within;
            $pause = $this->policy->pause($attempt, RetryPolicy::chance());
            if ($exception instanceof Refused) {
                $pause += $exception->retryAfterS ?? 0;
            }
            if ($isLast || $pause >= $deadline->remaining()) {
                throw $exception;
            }
            $this->clock->sleep($pause);
        }
    }

    private function mayHelp(ExceptionInterface $exception, bool $knowsDaemon): bool
    {
        return match (true) {
            // The module was thrown out while it was believed to be there: this time it is sent.
            $exception instanceof Refused => $exception->reason === 'module_missing'
                || ($exception->retryAfterS ?? INF) <= $this->policy->longestS,
            $exception instanceof PeerMismatch => false,
            $exception instanceof NoDaemon => $knowsDaemon,
            $exception instanceof TimedOut => !in_array($exception->limit, ['total', 'node'], true),
            default => true,
        };
    }
}
