<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Outcome;
use Plasm\OutcomeKind;
use Plasm\Quantity;
use Plasm\Record\Printable;

/**
 * The hint for a job that failed at what it may do with its files: the option that allows it.
 *
 * @internal
 */
final readonly class FileHint
{
    /** How much of the end of each output is searched for the words of an error. */
    public const TAIL_BYTES = 16 << 10;

    private const MAX_DATA_BYTES = 1 << 32;
    private const MAX_DESCRIPTORS = 4096;
    private const NO_DESCRIPTORS = ['too many open files', 'no file descriptors available'];

    /**
     * Return the option that allows what a failed job was refused; null if that is not known.
     *
     * A receipt does not state what a job was refused. An output that is missing below a read-only directory is proof
     * of it; else the end of the job's own output is searched for the texts of the C library, which nearly all programs
     * and interpreters print.
     *
     * @param list<Product> $left the outputs that the job left
     */
    public static function of(Outcome $outcome, ?JobFiles $asked, array $left, string $output): ?string
    {
        if ($asked === null || $outcome->ok() || !in_array($outcome->kind, [OutcomeKind::Exited, OutcomeKind::Trapped], true)) {
            return null;
        }
        $there = array_map(static fn (Product $product): string => $product->path, $left);
        foreach (array_diff($asked->outputs, $there) as $missing) {
            foreach ($asked->readOnly as $path) {
                if ($path === JobFiles::ROOT || $missing === $path || str_starts_with($missing, "$path/")) {
                    return self::writable([$path]);
                }
            }
        }
        $words = strtolower($output);
        if ($asked->readOnly !== [] && str_contains($words, 'read-only file system')) {
            $named = array_filter($asked->readOnly, static fn (string $path) => str_contains($words, strtolower($path) . '/'));

            return self::writable(array_values($named) ?: $asked->readOnly);
        }
        $limits = $asked->limits;
        if (str_contains($words, 'no space left on device')) {
            return self::more([
                ['dataBytes', $limits->dataBytes, max(2 * $limits->dataBytes, 1 << 20), self::MAX_DATA_BYTES],
                ['entries', $limits->entries, 2 * $limits->entries, Listing::MAX_ENTRIES],
            ]);
        }
        foreach (self::NO_DESCRIPTORS as $text) {
            if (str_contains($words, $text)) {
                return self::more([['descriptors', $limits->descriptors, 2 * $limits->descriptors, self::MAX_DESCRIPTORS]]);
            }
        }

        return null;
    }

    /** @param non-empty-list<string> $paths */
    private static function writable(array $paths): string
    {
        $names = in_array(JobFiles::ROOT, $paths, true) ? 'its whole tree' : implode(', ', $paths);
        $verb = count($paths) === 1 ? 'is' : 'are';

        return Printable::visible(
            "$names $verb read-only for the job: an InputDirectory with writable: true lets it change its copy",
        );
    }

    /** @param list<array{string, int, int, int}> $limits each by its name, value, a higher value and the highest */
    private static function more(array $limits): ?string
    {
        $raised = [];
        foreach ($limits as [$name, $value, $more, $most]) {
            if ($value < $most) {
                $was = $name === 'dataBytes' ? Quantity::bytesText($value) : (string) $value;
                $raised[] = "new FileLimits($name: " . min($more, $most) . ") (it was $was)";
            }
        }

        return $raised === [] ? null : "'file_limits' => " . implode(' or ', $raised);
    }
}
