<?php

declare(strict_types=1);

namespace Plasm\Fraud;

use Plasm\Digest;
use Plasm\Envelope;
use Plasm\Exception\ProofRefused;
use Plasm\StateDirectory;

/** Fraud proofs in files that only their user can read, in the directory that the Python client uses. */
final class ProofFiles
{
    private const MAX_FILES = 256;
    private const MAX_BYTES = 256 << 20;

    /**
     * Make a proof and keep it. Return its file; null if there is no proof, or it cannot be kept. Never throws.
     *
     * The same receipts give the same file. Beyond 256 files, or 256 MiB, the oldest are deleted. The file contains
     * the job's inputs in plain form.
     *
     * @param list<Envelope> $envelopes receipts of one task that differ
     * @param array<string, string> $inputs as of `FraudProof`
     */
    public static function keep(array $envelopes, array $inputs): ?string
    {
        $directory = StateDirectory::of('fraud-proofs');
        try {
            $proof = FraudProof::of($envelopes, $inputs);
            $task = $proof->compare()->asked->taskDigest;
        } catch (ProofRefused) {
            return null;
        }
        if ($directory === null) {
            return null;
        }
        $json = $proof->toJson();
        if (strlen($json) > FraudProof::MAX_BYTES) {
            $json = FraudProof::of($envelopes)->toJson();
        }
        $signed = array_map(
            static fn (Envelope $envelope): string => Envelope::pae($envelope->payloadType, $envelope->payload),
            $proof->envelopes,
        );
        $path = "$directory/" . substr($task, 0, 16) . '-' . substr(Digest::of(implode('', $signed)), 0, 16) . '.json';
        clearstatcache(true, $path);
        $there = @lstat($path);
        if ($there !== false && $there['size'] >= strlen($json)) {
            return $path; // with its inputs, if it was kept without before
        }
        self::makeRoom($directory, strlen($json), $path);

        return StateDirectory::write($path, $json) ? $path : null;
    }

    private static function makeRoom(string $directory, int $wanted, string $except): void
    {
        $files = [];
        $total = 0;
        foreach (@glob("$directory/*.json") ?: [] as $file) {
            $status = @lstat($file);
            if ($status !== false && $file !== $except) {
                $files[$file] = [$status['mtime'], $status['size']];
                $total += $status['size'];
            }
        }
        asort($files);
        foreach ($files as $file => [, $size]) {
            if (count($files) < self::MAX_FILES && $total + $wanted <= self::MAX_BYTES) {
                return;
            }
            @unlink($file);
            unset($files[$file]);
            $total -= $size;
        }
    }
}
