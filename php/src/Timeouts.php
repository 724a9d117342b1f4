<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidArgument;

/** The client's waits, in seconds. The job's own limit is the option `wall_time`. */
final readonly class Timeouts
{
    /**
     * @param float $connectS for a node to answer and introduce itself
     * @param float $idleS for any message during a conversation; nodes send a heartbeat every 10 s
     * @param float|null $totalS for a whole call; null waits as long as the node is alive, in `run` for the job's
     *     wall time and an hour; INF is no limit
     * @param float $patienceS for a lost node with a job to come back, if another node could run the job
     */
    public function __construct(
        public float $connectS = 5.0,
        public float $idleS = 30.0,
        public ?float $totalS = null,
        public float $patienceS = 15.0,
    ) {
        $limits = ['connect' => $connectS, 'idle' => $idleS, 'total' => $totalS, 'patience' => $patienceS];
        foreach ($limits as $name => $seconds) {
            if ($seconds !== null && !($seconds > 0)) {
                throw new InvalidArgument("the $name timeout must be more than 0 s");
            }
        }
    }
}
