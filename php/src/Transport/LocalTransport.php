<?php

declare(strict_types=1);

namespace Plasm\Transport;

use Plasm\Exception\InvalidArgument;
use Plasm\Exception\NoDaemon;
use Plasm\Exception\TimedOut;
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

    /** How long to wait for a daemon that is starting. */
    private const START_S = 15.0;

    /** How long to wait for the mark of a start, as after `plasmd &`: the shell starts both programs at once. */
    private const GRACE_S = 1.0;

    private const PAUSE_S = 0.05;

    private KeptStreams $kept;

    /**
     * @param string|null $socket the socket to use; null to try the places where daemons listen
     * @param int|null $trustedUser a user whose daemon is trusted, in addition to this process's user and root
     */
    public function __construct(
        private ?string $socket = null,
        private Timeouts $timeouts = new Timeouts(),
        private ClockInterface $clock = new SystemClock(),
        private ?int $trustedUser = null,
    ) {
        $this->kept = new KeptStreams($clock);
    }

    public function open(?PeerId $peer, Deadline $deadline): SessionInterface
    {
        for ($began = $this->clock->now(); ; $this->clock->sleep(self::PAUSE_S)) {
            try {
                return $this->openOnce($peer, $deadline);
            } catch (Unreachable $exception) {
                if (!$this->mayStart($began, $deadline, $exception instanceof NoDaemon)) {
                    throw $exception;
                }
            }
        }
    }

    private function openOnce(?PeerId $peer, Deadline $deadline): SessionInterface
    {
        $failure = $silence = null;
        foreach ($this->sockets() as $path) {
            try {
                return $this->converse($path, $peer, $deadline);
            } catch (Unreachable $exception) {
                $failure ??= $exception;
            } catch (TimedOut $exception) {
                $deadline->check($exception->waitedFor);
                $silence ??= new TimedOut($exception->waitedFor, $exception->seconds, $exception->limit, isLocal: true);
            }
        }

        // One that is there may answer yet.
        throw $silence ?? $failure ?? $this->noDaemon();
    }

    public function discover(Deadline $deadline): array
    {
        for ($began = $this->clock->now(); ; $this->clock->sleep(self::PAUSE_S)) {
            $sockets = $this->sockets();
            $nodes = $this->nodes($sockets, $deadline);
            if ($nodes !== [] || !$this->mayStart($began, $deadline, $sockets === [])) {
                return $nodes;
            }
        }
    }

    /**
     * Return the nodes that answer.
     *
     * @param list<string> $sockets
     *
     * @return list<Node>
     */
    private function nodes(array $sockets, Deadline $deadline): array
    {
        $nodes = [];
        foreach ($sockets as $path) {
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

    /** Return whether to look for a daemon again: one is starting, or may not have left a mark yet. */
    private function mayStart(float $began, Deadline $deadline, bool $isNoneSeen): bool
    {
        $waited = $this->clock->now() - $began;
        if ($waited >= self::START_S || $deadline->remaining() <= self::PAUSE_S) {
            return false;
        }

        return ($isNoneSeen && $waited < self::GRACE_S) || $this->isStarting();
    }

    private function converse(string $path, ?PeerId $peer, Deadline $deadline): SessionInterface
    {
        $connecting = $deadline->orSooner(new Deadline($this->clock, $this->timeouts->connectS, 'connect'));
        $this->checkOwner($path);
        $keep = fn (KeptStream $kept) => $this->kept->put($path, $kept);
        $kept = $this->kept->take($path, $peer);
        if ($kept !== null) {
            return Session::resume($kept, $deadline, $this->timeouts, $this->clock, $keep);
        }
        $stream = UnixStream::connect($path, Session::PROTOCOL, $connecting);

        return Session::open($stream, $peer, $deadline, $this->timeouts, $this->clock, keep: $keep);
    }

    /**
     * Check that a socket, the target of a link, and the directories that contain them belong to this user, to root or to a
     * trusted user: another user's process could give false answers.
     *
     * @throws Unreachable
     */
    private function checkOwner(string $path): void
    {
        clearstatcache();
        $allowed = [0, self::user(), $this->trustedUser, self::systemUser($path)];
        // Where open_basedir forbids a look, each of these would warn.
        $real = @realpath($path);
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

    /**
     * Return the owner of the system's directory, if the socket is in it and only root could have created the
     * directory.
     */
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
     * Return the sockets where daemons may be listening, the likeliest first (docs/protocol.md, "Carriers").
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
     * Return the sockets to try in a directory that cannot be listed.
     *
     * Under open_basedir PHP does not tell whether a file exists, but still connects to it.
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

    /**
     * Return whether a daemon is starting: it holds a lock on a file next to its socket (docs/protocol.md,
     * "Carriers").
     */
    private function isStarting(): bool
    {
        foreach ($this->places() as $place) {
            $marks = $this->isNamed() ? ["$place.starting"] : (@glob("$place/*.starting") ?: []);
            foreach ($marks as $mark) {
                $file = @is_link($mark) ? false : @fopen($mark, 'r');
                if ($file === false) {
                    continue;
                }
                $isFree = flock($file, LOCK_SH | LOCK_NB, $isLocked);
                fclose($file);
                if (!$isFree && $isLocked === 1) {
                    return true;
                }
            }
        }

        return false;
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
        $session = getenv('XDG_RUNTIME_DIR');
        $found = is_string($session) && $session !== '' ? ["$session/plasm"] : [];
        $user = self::user();
        if (is_int($user) && $user !== 0) {
            // `su -` and cron set no XDG_RUNTIME_DIR: a daemon that was started there listens in /tmp.
            $found = [
                ...$found,
                ...(self::isOwn("/run/user/$user", $user, false) ? ["/run/user/$user/plasm"] : []),
                ...(self::isOwn("/tmp/plasm-$user", $user, true) ? ["/tmp/plasm-$user"] : []),
            ];
        }

        return array_values(array_unique([...$found, self::SYSTEM_DIRECTORY]));
    }

    private static function user(): int|false
    {
        return function_exists('posix_geteuid') ? posix_geteuid() : @fileowner('/proc/self');
    }

    /**
     * Return whether a directory belongs to a user and no other user may change its contents; `$missing` if it does
     * not exist.
     */
    private static function isOwn(string $path, int $user, bool $missing): bool
    {
        $found = @lstat($path);
        if ($found === false) {
            return $missing;
        }

        return ($found['mode'] & 0170000) === 0040000 && $found['uid'] === $user && ($found['mode'] & 022) === 0;
    }

    private function noDaemon(): NoDaemon
    {
        return new NoDaemon(
            'no daemon runs here: there is no socket at ' . implode(' or ', $this->places()),
            StartHint::of($this->places()),
        );
    }
}
