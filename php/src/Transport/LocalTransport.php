<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\InvalidArgument;
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

    private const SYSTEM_DIRECTORY = '/run/plasm';

    /**
     * @param string|null $socket the one socket to use; null to look where daemons listen
     * @param int|null $trustedUser a user whose daemon is believed, beside this process's own and root
     */
    public function __construct(
        private ?string $socket = null,
        private Timeouts $timeouts = new Timeouts(),
        private ClockInterface $clock = new SystemClock(),
        private ?int $trustedUser = null,
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
        $this->checkOwner($path);
        $stream = UnixStream::connect($path, JobStream::PROTOCOL, $connecting);

        return JobStream::open($stream, $peer, $deadline, $this->timeouts, $this->clock);
    }

    /**
     * Check that a socket, what it is a link to, and the directories in which another could be put belong to this user,
     * root or one that is trusted: whoever else serves it could answer anything.
     *
     * @throws Unreachable
     */
    private function checkOwner(string $path): void
    {
        clearstatcache();
        $self = function_exists('posix_geteuid') ? posix_geteuid() : @fileowner('/proc/self');
        $allowed = [0, $self, $this->trustedUser, self::systemUser($path)];
        $real = realpath($path);
        $places = [@lstat($path), @stat($path), @stat(dirname($path)), $real === false ? false : @stat(dirname($real))];
        foreach ($places as $found) {
            if ($found !== false && !in_array($found['uid'], $allowed, true)) {
                throw new Unreachable(
                    "the daemon on $path is run by the user {$found['uid']}, not by you or root: it could answer anything",
                    'if you trust that user, say so with the option trusted_user',
                );
            }
        }
    }

    /** Return the owner of the system's directory, if the socket lies there and nobody but root could make it. */
    private static function systemUser(string $path): ?int
    {
        if (dirname($path) !== self::SYSTEM_DIRECTORY) {
            return null;
        }
        $above = @lstat(dirname(self::SYSTEM_DIRECTORY));
        $own = @lstat(self::SYSTEM_DIRECTORY);
        $isClosed = $above !== false && $own !== false && $above['uid'] === 0
            && (($above['mode'] | $own['mode']) & 022) === 0 && ($own['mode'] & 0170000) === 0040000;

        return $isClosed ? $own['uid'] : null;
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
            if (!@is_dir($place)) {
                $found = [...$found, ...$this->unseen($place)];
                continue;
            }
            $names = @glob($place . '/*.sock') ?: [];
            usort($names, static fn (string $a, string $b): int => [basename($a) !== self::SOCKET_NAME, $a]
                <=> [basename($b) !== self::SOCKET_NAME, $b]);
            $found = [...$found, ...$names];
        }

        return $found;
    }

    /**
     * Return what to try of a place that is no directory one may look into.
     *
     * Under open_basedir PHP does not say whether a file is there, but connects to it all the same.
     *
     * @return list<string>
     */
    private function unseen(string $place): array
    {
        if (@file_exists($place)) {
            return [$place];
        }
        if (ini_get('open_basedir') === '') {
            return [];
        }

        return [str_ends_with($place, '.sock') || $this->isNamed() ? $place : "$place/" . self::SOCKET_NAME];
    }

    private function isNamed(): bool
    {
        $given = $this->socket ?? getenv('PLASM_SOCKET');

        return is_string($given) && $given !== '';
    }

    /** @return list<string> a socket, or directories that hold some */
    private function places(): array
    {
        $given = $this->socket ?? getenv('PLASM_SOCKET');
        if ($given === '') {
            throw new InvalidArgument(
                $this->socket === null ? 'PLASM_SOCKET is set but empty: give it a value, or unset it' : 'socket: the path is empty',
            );
        }
        if (is_string($given)) {
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
