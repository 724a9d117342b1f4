<?php

declare(strict_types=1);

namespace Plasm;

/** Receipts and claims that do not hold, kept as evidence of which node sent them (docs/network.md). */
final class Evidence
{
    private const MAX_FILES = 64;
    private const MAX_BYTES = 512 << 10;

    /** Store an envelope that a node sent. Return the file; null if it cannot be stored. Never throws. */
    public static function keep(PeerId $node, string $jobId, string $reason, string $envelopeJson): ?string
    {
        $directory = StateDirectory::of('evidence');
        if ($directory === null) {
            return null;
        }
        $record = [
            'node' => (string) $node,
            'jobId' => $jobId,
            'reason' => substr($reason, 0, 2000),
            'receivedAt' => gmdate('Y-m-d\TH:i:s\Z'),
            'envelope' => $envelopeJson,
        ];
        $flags = JSON_PRETTY_PRINT | JSON_INVALID_UTF8_SUBSTITUTE | JSON_UNESCAPED_SLASHES;
        $json = (string) json_encode($record, $flags);
        if (strlen($json) > self::MAX_BYTES) {
            $json = (string) json_encode(['envelope' => null, 'envelopeBytes' => strlen($envelopeJson)] + $record, $flags);
        }
        $kept = @glob("$directory/*.json") ?: [];
        foreach (array_slice($kept, 0, max(0, count($kept) - self::MAX_FILES + 1)) as $old) {
            @unlink($old);
        }
        $name = gmdate('Ymd\THis') . sprintf('%06d', (int) (fmod(microtime(true), 1.0) * 1e6));
        $path = "$directory/$name-" . substr($jobId, 0, 12) . '-' . bin2hex(random_bytes(4)) . '.json';
        $mask = umask(0077);
        $file = @fopen($path, 'x');
        umask($mask);
        if ($file === false) {
            return null;
        }
        $isWritten = fwrite($file, $json) === strlen($json);
        fclose($file);

        return $isWritten ? $path : null;
    }
}
