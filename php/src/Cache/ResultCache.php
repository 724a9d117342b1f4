<?php

declare(strict_types=1);

namespace Plasm\Cache;

use Plasm\Exception\ExceptionInterface;
use Plasm\Expectation;
use Plasm\JobResult;
use Plasm\Manifest;
use Plasm\Output\Collected;
use Plasm\PeerId;
use Plasm\Protocol\Channel;
use Plasm\ReceiptVerifier;
use Plasm\Standing;
use Plasm\VerifiedReceipt;

/**
 * The cache of verified results by task digest, so that an equal task is not run twice.
 *
 * The Python client and the commands share the directory and the format. An entry is one file: a line of JSON,
 * the manifest of the job that was run, its envelope, stdout and stderr. It is verified again whenever it is read.
 *
 * It never throws: an unreadable entry is missing, and an entry that cannot be written is dropped.
 */
final class ResultCache
{
    public const FORMAT = 'plasm.reuse/v1';

    /** The most output of a job that is kept, both streams together. */
    public const MAX_ENTRY_BYTES = 32 << 20;

    /** The most that is kept in all. The results that were used the longest ago are forgotten first. */
    public const MAX_BYTES = 512 << 20;
    public const MAX_ENTRIES = 100_000;

    private const MAX_HEADER_BYTES = 64 << 10;
    private const MAX_RECORD_BYTES = 1 << 20;
    private const CHUNK_BYTES = 64 << 10;
    private const LEFT_OVER_S = 3600;

    private int $added = -1;
    private int $addedBytes = -1;

    /**
     * @param string $directory only this user may enter it
     * @param int $maxBytes the most that is kept in all
     */
    public function __construct(
        private readonly string $directory,
        private readonly int $maxBytes = self::MAX_BYTES,
        private readonly int $maxEntries = self::MAX_ENTRIES,
    ) {
    }

    /** Return the cache that this user's commands use; null if there is no home directory. */
    public static function ofUser(): ?self
    {
        foreach (['XDG_CACHE_HOME' => '', 'HOME' => '/.cache'] as $name => $below) {
            $home = getenv($name);
            if (is_string($home) && str_starts_with($home, '/')) {
                return new self("$home$below/plasm/results");
            }
        }

        return null;
    }

    /**
     * Return the earlier result of an equal task; null if there is none that verifies.
     *
     * @param list<PeerId> $pinned the only keys to trust, none for whichever signed it
     * @param list<PeerId> $convicted nodes whose results are not taken
     * @param bool $strangers whether nodes that the user does not know may run the job; if not, the word of such a node
     *                        is not taken either
     */
    public function find(Manifest $wanted, array $pinned = [], array $convicted = [], bool $strangers = false): ?JobResult
    {
        if (!self::isKept($wanted) || !PrivateDirectory::isPrivate($this->directory)) {
            return null;
        }
        $path = "$this->directory/{$wanted->taskDigest()}";
        $file = PrivateDirectory::open($path);
        if ($file === null) {
            return null;
        }
        try {
            $found = self::read($file, $wanted, $pinned);
        } catch (ExceptionInterface | \RuntimeException) {
            return null; // it was altered, or a node that is not pinned signed it: the job is run
        } finally {
            fclose($file);
        }
        if ($found === null || in_array($found->receipt->node, $convicted)) {
            return null;
        }
        if (!$strangers && $found->verdict->standing === Standing::Stranger) {
            return null;
        }
        @touch($path); // it was used now

        return $found;
    }

    /** Keep a verified result, if it is one that the task alone fixes. */
    public function keep(Manifest $manifest, JobResult $result): void
    {
        $isFixed = self::isKept($manifest) && $result->outcome->kind->recheckable();
        if (!$isFixed || $result->earlier !== null || !PrivateDirectory::isPrivate($this->directory)) {
            return;
        }
        $outputs = [$result->stdoutStream(), $result->stderrStream()];
        $sizes = [strlen($manifest->json), strlen($result->envelopeJson)];
        foreach ($outputs as $output) {
            $sizes[] = fstat($output)['size'] ?? PHP_INT_MAX;
        }
        if ($sizes[2] > self::MAX_ENTRY_BYTES || $sizes[2] + $sizes[3] > self::MAX_ENTRY_BYTES) {
            return;
        }
        $header = json_encode([
            'format' => self::FORMAT,
            'sizes' => $sizes,
            'state' => $result->outcome->state()->value,
            'standing' => strtoupper(($result->verdict->standing ?? Standing::Stranger)->name),
            'signer' => (string) $result->receipt->node,
            'settings' => new \stdClass(),
            'opinions' => [],
        ], JSON_UNESCAPED_SLASHES) . "\n";
        $this->makeRoom(strlen($header) + array_sum($sizes));
        $this->write($manifest->taskDigest(), $header . $manifest->json . $result->envelopeJson, $outputs, $sizes[2] + $sizes[3]);
    }

    /** Tell whether the task alone fixes the result, and it has no files, which are not kept. */
    private static function isKept(Manifest $manifest): bool
    {
        return $manifest->task->reproducible() && $manifest->task->files === null;
    }

    /**
     * @param resource $file
     * @param list<PeerId> $pinned
     *
     * @throws ExceptionInterface if it does not verify
     */
    private static function read($file, Manifest $wanted, array $pinned): ?JobResult
    {
        $header = json_decode((string) fgets($file, self::MAX_HEADER_BYTES), true, 32);
        if (!is_array($header) || ($header['format'] ?? null) !== self::FORMAT) {
            return null;
        }
        [$sizes, $standing, $signer] = [$header['sizes'] ?? null, $header['standing'] ?? null, $header['signer'] ?? null];
        $standing = ['OWN' => Standing::Own, 'NAMED' => Standing::Named, 'STRANGER' => Standing::Stranger][
            is_string($standing) ? $standing : ''
        ] ?? null;
        if ($standing === null || !is_string($signer) || !self::areSizes($sizes)) {
            return null;
        }
        $manifest = Manifest::fromJson(self::bytes($file, $sizes[0]));
        if ($manifest->taskDigest() !== $wanted->taskDigest()) {
            return null;
        }
        $envelopeJson = self::bytes($file, $sizes[1]);
        $output = new Collected();
        foreach (Channel::OUTPUTS as $index => $channel) {
            for ($left = $sizes[2 + $index]; $left > 0; $left -= strlen($bytes)) {
                $bytes = self::bytes($file, min($left, self::CHUNK_BYTES));
                $output->take($channel, $bytes);
            }
        }
        if (fread($file, 1) !== '') {
            return null;
        }
        $signer = PeerId::parse($signer);
        [$stdout, $stderr] = array_map($output->spool(...), Channel::OUTPUTS);
        $verified = (new ReceiptVerifier())->verify($envelopeJson, new Expectation(
            trusted: $pinned === [] ? [$signer] : $pinned,
            node: $signer,
            manifest: $manifest,
            stdout: $stdout->sha256(),
            stderr: $stderr->sha256(),
            stdoutBytes: $stdout->size(),
            stderrBytes: $stderr->size(),
        ));
        if (!$verified->receipt->observed->outcome->kind->recheckable()) {
            return null;
        }
        $verdict = $verified->verdict->of($pinned === [] ? $standing : Standing::Named);

        return new JobResult(
            new VerifiedReceipt($verified->receipt, $verdict, $envelopeJson),
            $output,
            earlier: $manifest,
        );
    }

    /** @phpstan-assert-if-true array{int, int, int, int} $sizes */
    private static function areSizes(mixed $sizes): bool
    {
        if (!is_array($sizes) || !array_is_list($sizes) || count($sizes) !== 4) {
            return false;
        }
        foreach ($sizes as $size) {
            if (!is_int($size) || $size < 0 || $size > self::MAX_ENTRY_BYTES) {
                return false;
            }
        }

        return max($sizes[0], $sizes[1]) <= self::MAX_RECORD_BYTES && $sizes[2] + $sizes[3] <= self::MAX_ENTRY_BYTES;
    }

    /**
     * @param resource $file
     *
     * @throws \RuntimeException if there are fewer
     */
    private static function bytes($file, int $length): string
    {
        $bytes = $length === 0 ? '' : stream_get_contents($file, $length);
        if (!is_string($bytes) || strlen($bytes) !== $length) {
            throw new \RuntimeException('the entry is cut short');
        }

        return $bytes;
    }

    /**
     * Write an entry completely or not at all.
     *
     * @param list<resource> $outputs
     * @param int $bytes the size of both outputs together
     */
    private function write(string $name, string $head, array $outputs, int $bytes): void
    {
        $draft = "$this->directory/." . bin2hex(random_bytes(16)) . '.new';
        $mask = umask(0077);
        $file = @fopen($draft, 'x');
        umask($mask);
        if ($file === false) {
            return;
        }
        $written = (int) @fwrite($file, $head);
        foreach ($outputs as $output) {
            $written += (int) @stream_copy_to_stream($output, $file);
        }
        $isWhole = @fflush($file) && $written === strlen($head) + $bytes;
        @fclose($file);
        if (!$isWhole || !@rename($draft, "$this->directory/$name")) {
            @unlink($draft);
        }
    }

    /**
     * Delete the least recently used entries, once a sixteenth of the room may have been filled since the last scan.
     */
    private function makeRoom(int $bytes): void
    {
        $this->added += 1;
        $this->addedBytes += $bytes;
        if ($this->added > 0 && $this->added < intdiv($this->maxEntries, 16) && $this->addedBytes < intdiv($this->maxBytes, 16)) {
            return;
        }
        $this->added = $this->addedBytes = 0;
        $used = $sizes = [];
        foreach (@scandir($this->directory) ?: [] as $name) {
            $status = @lstat("$this->directory/$name");
            if ($status === false) {
                continue;
            }
            if (preg_match('/\A[0-9a-f]{64}\z/', $name) === 1) {
                [$used[$name], $sizes[$name]] = [$status['mtime'], $status['size']];
            } elseif (str_ends_with($name, '.new') && $status['mtime'] < time() - self::LEFT_OVER_S) {
                @unlink("$this->directory/$name"); // of a process that was killed while it wrote
            }
        }
        asort($used);
        $bytes += array_sum($sizes);
        $count = count($used) + 1;
        foreach (array_keys($used) as $name) {
            if ($bytes <= $this->maxBytes - intdiv($this->maxBytes, 16) && $count <= $this->maxEntries - intdiv($this->maxEntries, 16)) {
                return;
            }
            @unlink("$this->directory/$name");
            $bytes -= $sizes[$name];
            --$count;
        }
    }
}
