<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\NoDaemon;
use Plasm\Exception\TransportException;
use Plasm\Exception\Unreachable;
use Plasm\Node;
use Plasm\PeerId;
use Plasm\Time\ClockInterface;
use Plasm\Time\Deadline;
use Plasm\Time\SystemClock;
use Plasm\Timeouts;

/** Reaches the daemons of this machine over their Unix sockets. */
final readonly class LocalTransport implements TransportInterface
{
    private const SOCKET_NAME = 'plasmd.sock';

    /** @param string|null $socket the one socket to use; null to look where daemons listen */
    public function __construct(
        private ?string $socket = null,
        private Timeouts $timeouts = new Timeouts(),
        private ClockInterface $clock = new SystemClock(),
    ) {
    }

    public function open(?PeerId $peer, Deadline $deadline): ConversationInterface
    {
        $failure = null;
        foreach ($this->sockets() as $path) {
            try {
                return $this->converse($path, $peer, $deadline);
            } catch (Unreachable $exception) {
                $failure ??= $exception;
            }
        }

        throw $failure ?? $this->noDaemon();
    }

    public function discover(Deadline $deadline): array
    {
        $nodes = [];
        foreach ($this->sockets() as $path) {
            try {
                $conversation = $this->converse($path, null, $deadline);
            } catch (TransportException) {
                continue;
            }
            $nodes[] = new Node($conversation->peer(), $conversation->agent(), "unix:$path");
            $conversation->close();
        }

        return $nodes;
    }

    private function converse(string $path, ?PeerId $peer, Deadline $deadline): ConversationInterface
    {
        $connecting = $deadline->orSooner(new Deadline($this->clock, $this->timeouts->connectS, 'connect'));
        $stream = UnixStream::connect($path, JobStream::PROTOCOL, $connecting);

        return JobStream::open($stream, $peer, $deadline, $this->timeouts, $this->clock);
    }

    /**
     * Return where daemons may be listening, the likeliest first (docs/protocol.md, "Carriers").
     *
     * @return list<string>
     */
    private function sockets(): array
    {
        $found = [];
        foreach ($this->places() as $place) {
            if (!is_dir($place)) {
                $found = file_exists($place) ? [...$found, $place] : $found;
                continue;
            }
            $names = glob($place . '/*.sock') ?: [];
            usort($names, static fn (string $a, string $b): int => [basename($a) !== self::SOCKET_NAME, $a]
                <=> [basename($b) !== self::SOCKET_NAME, $b]);
            $found = [...$found, ...$names];
        }

        return $found;
    }

    /** @return list<string> a socket, or directories that hold some */
    private function places(): array
    {
        $given = $this->socket ?? getenv('PLASM_SOCKET');
        if (is_string($given) && $given !== '') {
            return [$given];
        }
        $user = getenv('XDG_RUNTIME_DIR');

        return [...(is_string($user) && $user !== '' ? ["$user/plasm"] : []), '/run/plasm'];
    }

    private function noDaemon(): NoDaemon
    {
        return new NoDaemon(
            'no daemon runs here: there is no socket at ' . implode(' or ', $this->places()),
            'start one with: plasmd',
        );
    }
}
