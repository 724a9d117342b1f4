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
 * Tries a call again where that is safe and may help.
 *
 * Every call of the protocol is safe: submitting again what was submitted is the same job, and attaching goes on
 * where the output broke off.
 */
final readonly class Retries
{
    /** A connection that lived this long before it broke was a good one: the count begins anew. */
    private const LASTED_S = 30.0;

    public function __construct(private RetryPolicy $policy, private ClockInterface $clock)
    {
    }

    /**
     * @template T
     *
     * @param \Closure(): T $call
     * @param bool $knowsDaemon whether there was a daemon before, which may just be starting anew
     * @param float|null $patienceS try again until the node was away for so long, however often; null for the policy's
     *                              number of attempts
     *
     * @return T
     */
    public function run(Deadline $deadline, \Closure $call, bool $knowsDaemon = true, ?float $patienceS = null): mixed
    {
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
            $isLast = $patienceS === null ? $attempt >= $this->policy->attempts : $now - $awaySince >= $patienceS;
            $pause = $this->policy->pause($attempt, mt_rand() / mt_getrandmax());
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
