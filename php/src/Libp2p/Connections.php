<?php

declare(strict_types=1);

namespace Plasm\Libp2p;

use Plasm\Libp2p\Exception\Cancelled;
use Plasm\Libp2p\Exception\Libp2pException;
use Plasm\Libp2p\Exception\UnsupportedProtocol;
use Plasm\PeerId;
use Plasm\Time\Deadline;

/** One connection to each peer, shared by all users: nodes allow each peer only a few. */
final class Connections
{
    /** @var array<string, ConnectionInterface> by PeerId, the last used at the end */
    private array $kept = [];

    /** @var array<string, int> how many use each */
    private array $users = [];

    /** @var array<string, Dial> by PeerId and addresses: a dial is shared only by callers with the same addresses */
    private array $dials = [];

    /** @param int $maxKept above this number, the least recently used connection that is not in use is closed */
    public function __construct(private readonly HostInterface $host, private readonly int $maxKept = 32)
    {
    }

    public function __destruct()
    {
        $this->close();
    }

    /**
     * Talk to a peer. If that fails in a way that makes the connection useless, it is closed.
     *
     * @template T
     *
     * @param \Closure(ConnectionInterface): T $use
     *
     * @return T
     *
     * @throws Libp2pException
     */
    public function use(PeerInfo $info, Deadline $deadline, bool $publicOnly, \Closure $use): mixed
    {
        $name = (string) $info->peer;
        $this->users[$name] = ($this->users[$name] ?? 0) + 1;
        try {
            $connection = $this->to($info, $deadline, $publicOnly);
            try {
                return $use($connection);
            } catch (Cancelled | UnsupportedProtocol $exception) {
                throw $exception;
            } catch (\Throwable $exception) {
                $connection->close();
                throw $exception;
            }
        } finally {
            if (--$this->users[$name] === 0) {
                unset($this->users[$name]);
            }
        }
    }

    /**
     * Return the connection to a peer. If there is none, dial all its addresses at once.
     *
     * @throws Libp2pException
     */
    public function to(PeerInfo $info, Deadline $deadline, bool $publicOnly): ConnectionInterface
    {
        $name = (string) $info->peer;
        while (($connection = $this->kept($info->peer)) === null) {
            $dial = $this->dials[self::key($info)] ?? null;
            if ($dial === null) {
                return $this->dial($info, $deadline, $publicOnly);
            }
            $dial->wait($deadline);
        }
        unset($this->kept[$name]);

        return $this->kept[$name] = $connection;
    }

    /** Return the connection to a peer, if there is one that still seems to live. */
    public function kept(PeerId $peer): ?ConnectionInterface
    {
        $connection = $this->kept[(string) $peer] ?? null;
        if ($connection !== null && !$connection->isOpen()) {
            unset($this->kept[(string) $peer]);

            return null;
        }

        return $connection;
    }

    public function drop(PeerId $peer): void
    {
        ($this->kept[(string) $peer] ?? null)?->close();
        unset($this->kept[(string) $peer]);
    }

    public function close(): void
    {
        foreach ($this->kept as $connection) {
            $connection->close();
        }
        $this->kept = [];
    }

    private function dial(PeerInfo $info, Deadline $deadline, bool $publicOnly): ConnectionInterface
    {
        $name = (string) $info->peer;
        $key = self::key($info);
        $dial = $this->dials[$key] = new Dial($this->host->loop(), $info->peer);
        try {
            $connection = $this->host->race($info->addresses, $deadline, $publicOnly);
        } catch (\Throwable $exception) {
            unset($this->dials[$key]);
            $dial->end($exception);
            throw $exception;
        }
        unset($this->dials[$key]);
        $other = $this->kept($info->peer);
        if ($other !== null) {
            $connection->close();
            $connection = $other;
        }
        $this->kept[$name] = $connection;
        $this->evict($name);
        $dial->end(null);

        return $connection;
    }

    private static function key(PeerInfo $info): string
    {
        return "$info->peer " . implode(' ', array_map(strval(...), $info->addresses));
    }

    private function evict(string $newest): void
    {
        foreach ($this->kept as $name => $connection) {
            if (count($this->kept) <= $this->maxKept) {
                return;
            }
            if (!isset($this->users[$name]) && $name !== $newest) {
                $connection->close();
                unset($this->kept[$name]);
            }
        }
    }
}
