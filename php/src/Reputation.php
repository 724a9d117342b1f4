<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\InvalidRecord;
use Plasm\Verifier\NodeHistory;

/**
 * The records of this user's PHP clients about nodes: a file in the state directory that only the user can read.
 *
 * It has at most 2,000 nodes, of which at most 1,000 are convicted: a liar's keys are free, and must not take the places of
 * honest nodes. The convicted nodes with the oldest convictions are dropped first, and of the others those with the
 * fewest checked results. Each change replaces the file under a lock. If the file cannot be read or written, all nodes
 * are unknown, and no job fails.
 */
final class Reputation
{
    private const FORMAT = 'plasm.php-reputation/v0';
    private const MAX_NODES = 2000;
    private const MAX_BYTES = 2 << 20;
    private const MAX_COUNT = 1_000_000_000;
    private const MAX_PATH = 512;

    /** @param string|null $directory null for that of the user's state directory */
    public function __construct(private readonly ?string $directory = null)
    {
    }

    public function find(PeerId $peer): NodeHistory
    {
        return $this->all()[(string) $peer] ?? new NodeHistory();
    }

    /** @return array<string, NodeHistory> by PeerId: convicted nodes first, then by the number of checked results */
    public function all(): array
    {
        $path = $this->path();

        return $path === null ? [] : self::read($path);
    }

    /** @return list<PeerId> */
    public function convicted(): array
    {
        $nodes = array_filter($this->all(), static fn (NodeHistory $node): bool => $node->convictedAt !== null);

        return array_map(PeerId::parse(...), array_keys($nodes));
    }

    /**
     * Store the lessons of a judgement.
     *
     * @param list<PeerId> $accepted nodes whose results were accepted
     * @param list<PeerId> $checked nodes whose results another node confirmed
     * @param list<PeerId> $failed nodes whose results differ from one that enough others agree on
     * @param string|null $proof the fraud proof about those
     */
    public function learn(array $accepted, array $checked = [], array $failed = [], ?string $proof = null): bool
    {
        return $this->change(static function (array $nodes) use ($accepted, $checked, $failed, $proof): array {
            foreach (array_unique([...$accepted, ...$checked, ...$failed], SORT_STRING) as $peer) {
                $name = (string) $peer;
                $node = $nodes[$name] ?? new NodeHistory();
                $hasFailed = in_array($peer, $failed);
                $nodes[$name] = new NodeHistory(
                    accepted: min(self::MAX_COUNT, $node->accepted + (in_array($peer, $accepted) ? 1 : 0)),
                    checked: $hasFailed ? 0 : min(self::MAX_COUNT, $node->checked + (in_array($peer, $checked) ? 1 : 0)),
                    failed: min(self::MAX_COUNT, $node->failed + ($hasFailed ? 1 : 0)),
                    proof: $node->proof ?? ($hasFailed ? self::boundedPath($proof) : null),
                    convictedAt: $node->convictedAt,
                    lastSeen: time(),
                );
            }

            return $nodes;
        });
    }

    /**
     * Note that a fraud proof convicts a node: this user's PHP clients give it no job any more.
     *
     * The caller has verified the proof, as with `plasm verify --fraud`. A second proof changes nothing.
     */
    public function convict(PeerId $peer, string $proof): bool
    {
        return $this->change(static function (array $nodes) use ($peer, $proof): array {
            $node = $nodes[(string) $peer] ?? new NodeHistory();
            if ($node->convictedAt === null) {
                $nodes[(string) $peer] = new NodeHistory(
                    $node->accepted,
                    0,
                    max(1, $node->failed),
                    self::boundedPath($proof),
                    time(),
                    time(),
                );
            }

            return $nodes;
        });
    }

    /** Forget a node, also if it is convicted. */
    public function forget(PeerId $peer): bool
    {
        return $this->change(static function (array $nodes) use ($peer): array {
            unset($nodes[(string) $peer]);

            return $nodes;
        });
    }

    /** @param \Closure(array<string, NodeHistory>): array<string, NodeHistory> $change */
    private function change(\Closure $change): bool
    {
        $path = $this->path();
        if ($path === null) {
            return false;
        }
        $mask = umask(0077);
        $lock = @fopen("$path.lock", 'c');
        umask($mask);
        if ($lock === false) {
            return false;
        }
        try {
            if (!flock($lock, LOCK_EX)) {
                return false;
            }
            $nodes = $change(self::read($path));
            uasort($nodes, self::order(...));
            $most = self::MAX_NODES;
            do {
                $nodes = self::bounded($nodes, $most);
                $most = intdiv($most, 2);
            } while (strlen($json = self::encoded($nodes)) > self::MAX_BYTES);

            return StateDirectory::write($path, $json);
        } finally {
            fclose($lock);
        }
    }

    /**
     * Keep so many nodes, at most half of them convicted.
     *
     * @param array<string, NodeHistory> $nodes in order
     * @return array<string, NodeHistory>
     */
    private static function bounded(array $nodes, int $most): array
    {
        $isConvicted = static fn (NodeHistory $node): bool => $node->convictedAt !== null;
        $convicted = array_slice(array_filter($nodes, $isConvicted), 0, intdiv($most, 2), true);
        $others = array_filter($nodes, static fn (NodeHistory $node): bool => !$isConvicted($node));

        return $convicted + array_slice($others, 0, $most - count($convicted), true);
    }

    /** Order convicted nodes first, then by checked results, then by the time of the last result. */
    private static function order(NodeHistory $a, NodeHistory $b): int
    {
        $rank = static fn (NodeHistory $node): array
            => [$node->convictedAt !== null, $node->checked, $node->lastSeen, $node->accepted];

        return $rank($b) <=> $rank($a);
    }

    /** @param array<string, NodeHistory> $nodes */
    private static function encoded(array $nodes): string
    {
        $items = array_map(static fn (NodeHistory $node): array => get_object_vars($node), $nodes);
        $flags = JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_INVALID_UTF8_SUBSTITUTE;

        return json_encode(['format' => self::FORMAT, 'nodes' => (object) $items], $flags);
    }

    /** @return array<string, NodeHistory> */
    private static function read(string $path): array
    {
        $json = @is_file($path) && !@is_link($path) ? @file_get_contents($path, length: self::MAX_BYTES + 1) : false;
        if ($json === false) {
            return [];
        }
        $kept = strlen($json) > self::MAX_BYTES ? null : json_decode($json, true, 8);
        if (!is_array($kept) || ($kept['format'] ?? null) !== self::FORMAT || !is_array($kept['nodes'] ?? null)) {
            @rename($path, "$path.damaged"); // nothing is written over what may be of use to its owner

            return [];
        }
        $nodes = [];
        foreach (array_slice($kept['nodes'], 0, self::MAX_NODES, true) as $name => $item) {
            try {
                $name = (string) PeerId::parse((string) $name);
            } catch (InvalidRecord) {
                continue;
            }
            $nodes[$name] = self::node(is_array($item) ? $item : []);
        }

        return $nodes;
    }

    /** @param array<mixed> $item */
    private static function node(array $item): NodeHistory
    {
        $count = static fn (string $name): int => is_int($item[$name] ?? null) ? max(0, $item[$name]) : 0;
        $proof = $item['proof'] ?? null;

        return new NodeHistory(
            accepted: $count('accepted'),
            checked: $count('checked'),
            failed: $count('failed'),
            proof: is_string($proof) ? self::boundedPath($proof) : null,
            convictedAt: is_int($item['convictedAt'] ?? null) ? $item['convictedAt'] : null,
            lastSeen: $count('lastSeen'),
        );
    }

    private static function boundedPath(?string $path): ?string
    {
        return $path === null || strlen($path) > self::MAX_PATH ? null : $path;
    }

    private function path(): ?string
    {
        $directory = $this->directory ?? StateDirectory::of('reputation');

        return $directory === null ? null : "$directory/php.json";
    }
}
