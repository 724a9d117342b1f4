<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidArgument;

/** How long to wait, in seconds. The job itself has a limit of its own, the option `timeout`. */
final readonly class Timeouts
{
    /**
     * @param float $connectS for a node to answer and introduce itself
     * @param float $idleS for any sign of life while a conversation lasts; nodes give one each 10 s
     * @param float|null $totalS for a whole call; null for as long as the node is alive, and in `run` for the job's
     *                           own time and an hour; INF is for ever
     * @param float $patienceS for a node that has a job to come back, where another could have it
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
