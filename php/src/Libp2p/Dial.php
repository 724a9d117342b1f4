<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\Cancelled;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Io\Loop;
use Plasm\Libp2p\Io\Signal;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** An attempt to reach a peer, which others may wait for. */
final class Dial
{
    private readonly Signal $ended;
    private ?\Throwable $failure = null;

    public function __construct(Loop $loop, private readonly PeerId $peer)
    {
        $this->ended = new Signal($loop);
    }

    public function end(?\Throwable $failure): void
    {
        $this->failure = $failure;
        $this->ended->notify();
    }

    /**
     * Wait until it has ended.
     *
     * @throws Libp2pException if it failed; not if the task that started it was cancelled
     */
    public function wait(Deadline $deadline): void
    {
        $this->ended->wait($deadline, "a connection to $this->peer");
        if ($this->failure !== null && !$this->failure instanceof Cancelled) {
            throw $this->failure;
        }
    }
}
