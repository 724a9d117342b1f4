<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Digest;
use Plasm\Exception\InvalidRecord;
use Plasm\Record\Fields;

/** A task's files: its input tree, what is read-only in it, and the outputs that are kept. */
final readonly class JobFiles
{
    public const ROOT = '.';
    public const MAX_PATHS = 64;

    /**
     * @param string $tree digest of the input tree's listing
     * @param list<string> $readOnly sorted
     * @param list<string> $outputs sorted
     */
    public function __construct(
        public string $tree,
        public array $readOnly,
        public array $outputs,
        public FileLimits $limits,
    ) {
    }

    /** Read a manifest's files, noting problems in `$fields`. */
    public static function fromFields(Fields $fields): self
    {
        $files = self::read($fields, 'read_only', FileLimits::fromFields($fields->object('limits')));
        $fields->refuseOthers();

        return $files;
    }

    /** Read the files that a receipt restates, noting problems in `$fields`. */
    public static function fromAsked(Fields $fields): self
    {
        return self::read($fields, 'readOnly', FileLimits::fromAsked($fields->object('limits')));
    }

    private static function read(Fields $fields, string $readOnly, FileLimits $limits): self
    {
        $outputs = self::paths($fields, 'outputs');
        foreach ($outputs as $path) {
            if (self::liesIn($path, $outputs)) {
                $fields->problem('outputs', Listing::shown($path) . ' lies in another output');
            }
        }

        return new self($fields->digest('tree'), self::paths($fields, $readOnly), $outputs, $limits);
    }

    /**
     * Return the fields of the task digest that stand for the files, in their order (docs/files.md).
     *
     * @return array<string, string>
     */
    public function digested(): array
    {
        return [
            'tree' => sodium_hex2bin($this->tree),
            'read-only' => self::digestOf($this->readOnly),
            'outputs' => self::digestOf($this->outputs),
            'file-bytes' => pack('P', $this->limits->dataBytes),
            'file-entries' => pack('P', $this->limits->entries),
            'file-descriptors' => pack('P', $this->limits->descriptors),
        ];
    }

    /** @return array<string, mixed> a manifest's field */
    public function toArray(): array
    {
        return [
            'tree' => $this->tree,
            'read_only' => $this->readOnly,
            'outputs' => $this->outputs,
            'limits' => $this->limits->toArray(),
        ];
    }

    /** Tell whether a text is a path that a manifest may name. */
    public static function isPath(string $path): bool
    {
        if ($path === self::ROOT) {
            return true;
        }
        try {
            Listing::checkPath($path);
        } catch (InvalidRecord) {
            return false;
        }

        return preg_match('/[\x00-\x1f\x7f]/', $path) === 0;
    }

    /** @return list<string> sorted */
    private static function paths(Fields $fields, string $name): array
    {
        $paths = $fields->strings($name, self::MAX_PATHS, self::isPath(...), 'relative paths of the job\'s files');
        if (count(array_unique($paths)) !== count($paths)) {
            $fields->problem($name, 'a path occurs twice');
        }
        sort($paths, SORT_STRING);

        return $paths;
    }

    /** @param list<string> $paths */
    private static function liesIn(string $path, array $paths): bool
    {
        if ($path !== self::ROOT && in_array(self::ROOT, $paths, true)) {
            return true;
        }
        while (($slash = strrpos($path, '/')) !== false) {
            $path = substr($path, 0, $slash);
            if (in_array($path, $paths, true)) {
                return true;
            }
        }

        return false;
    }

    /** @param list<string> $paths */
    private static function digestOf(array $paths): string
    {
        $names = array_map(static fn (string $path): string => $path === self::ROOT ? '' : $path, $paths);
        sort($names, SORT_STRING);

        return sodium_hex2bin(Digest::ofList($names));
    }
}
