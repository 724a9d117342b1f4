<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidArgument;
use Plasm\Exception\InvalidRecord;
use Plasm\Source\FileSource;
use Plasm\Source\SourceInterface;
use Plasm\Source\StringSource;

/** Collects the input tree of a job from files of this machine and from bytes. Paths in it may begin with a slash. */
final class FileTree
{
    /** The directory for temporary files that each tree has. */
    private const TEMPORARY = 'tmp';
    private const CHUNK_BYTES = 1 << 20;

    /** @var array<string, array{TreeEntry, \Closure(int): string|null}> by path, behind a letter that keeps it a string */
    private array $sources = [];

    /** @var array<string, true> behind a letter, as above */
    private array $readOnly = [];

    /**
     * Read the files that a job's options name.
     *
     * @param array<array-key, mixed> $files contents by their paths in the job's tree: a string (the bytes), a stream, a
     *     `SplFileInfo` of a file or a directory, an `InputDirectory`
     * @param list<string> $outputs paths to keep; a directory that ends with a slash is made
     *
     * @throws InvalidArgument
     */
    public static function packed(array $files, array $outputs, FileLimits $limits): PackedFiles
    {
        $tree = self::collected($files);
        $names = [];
        foreach ($outputs as $path) {
            $name = self::guest($path);
            $slash = strrpos($name, '/');
            $tree->make(str_ends_with($path, '/') ? $name : ($slash === false ? '' : substr($name, 0, $slash)));
            $names[] = $name === '' ? JobFiles::ROOT : $name;
        }
        $tree->make(self::TEMPORARY);
        sort($names, SORT_STRING);
        $readOnly = array_map(static fn (string $key): string => substr($key, 1) ?: JobFiles::ROOT, array_keys($tree->readOnly));
        sort($readOnly, SORT_STRING);
        $pack = $tree->pack();

        return new PackedFiles($pack, new JobFiles($pack->tree, $readOnly, $names, $limits));
    }

    /**
     * Return the pack of a tree with these files and no others.
     *
     * @param array<array-key, mixed> $files as of `packed`
     *
     * @throws InvalidArgument
     */
    public static function of(array $files): Pack
    {
        return self::collected($files)->pack();
    }

    /** @param array<array-key, mixed> $files */
    private static function collected(array $files): self
    {
        $tree = new self();
        foreach ($files as $path => $content) {
            $tree->add(self::guest((string) $path), $content); // PHP makes an int of a name of digits
        }

        return $tree;
    }

    private function pack(): Pack
    {
        try {
            return Pack::of(array_values($this->sources));
        } catch (InvalidRecord $exception) {
            throw new InvalidArgument("files: {$exception->getMessage()}", 0, $exception);
        }
    }

    private function add(string $guest, mixed $content): void
    {
        if ($content instanceof \SplFileInfo && $content->isDir()) {
            $content = new InputDirectory($content->getPathname());
        }
        if ($content instanceof InputDirectory) {
            $this->addDirectory($content, $guest);

            return;
        }
        $this->addFile($guest, match (true) {
            is_string($content) => static fn (): SourceInterface => new StringSource($content),
            $content instanceof SourceInterface => static fn (): SourceInterface => $content,
            $content instanceof \SplFileInfo => self::fileAt($content->getPathname()),
            is_resource($content) => static fn (): SourceInterface => FileSource::ofStream($content),
            default => throw new InvalidArgument(
                'files: expected a string, a stream, an SplFileInfo or an InputDirectory for ' . Listing::shown($guest)
                    . ', got ' . get_debug_type($content),
            ),
        });
    }

    private function addDirectory(InputDirectory $directory, string $guest): void
    {
        $this->make($guest);
        if (!$directory->writable) {
            $this->readOnly["/$guest"] = true;
        }
        /** @var list<array{string, string, array<string, true>}> $waiting host, guest, and the directories above */
        $waiting = [[$directory->path, $guest, []]];
        while (($next = array_pop($waiting)) !== null) {
            [$host, $at, $above] = $next;
            $here = self::stated($host);
            $key = "{$here['dev']} {$here['ino']}";
            if (isset($above[$key])) {
                throw new InvalidArgument("files: $host is a link to a directory that it lies in");
            }
            $above[$key] = true;
            foreach (self::names($host) as $name) {
                $file = "$host/$name";
                $path = $at === '' ? $name : "$at/$name";
                if (is_link($file) && !$directory->followLinks) {
                    throw new InvalidArgument("files: $file is a symbolic link; followLinks takes what links lead to");
                }
                if (is_dir($file)) {
                    self::check($path);
                    $this->make($path);
                    $waiting[] = [$file, $path, $above];
                } else {
                    $this->addFile($path, self::fileAt($file));
                }
            }
        }
    }

    /** @param \Closure(): SourceInterface $open called when the file is read: not all are open at once */
    private function addFile(string $path, \Closure $open): void
    {
        self::check($path);
        $slash = strrpos($path, '/');
        $this->make($slash === false ? '' : substr($path, 0, $slash));
        if (isset($this->sources["/$path"])) {
            throw new InvalidArgument('files: ' . Listing::shown($path) . ' is named twice');
        }
        $source = null;
        $this->insert(new TreeEntry($path, TreeEntry::FILE), static function (int $offset) use ($open, &$source): string {
            $source = $offset === 0 ? $open() : $source;
            $bytes = $source?->read($offset, self::CHUNK_BYTES) ?? '';
            $source = $bytes === '' ? null : $source;

            return $bytes;
        });
    }

    /** Add a directory and those that it lies in, as far as they are not there. */
    private function make(string $path): void
    {
        $made = '';
        foreach ($path === '' ? [] : explode('/', $path) as $name) {
            $made .= $made === '' ? $name : "/$name";
            $there = $this->sources["/$made"] ?? null;
            if ($there === null) {
                $this->insert(new TreeEntry($made, TreeEntry::DIRECTORY), null);
            } elseif ($there[0]->kind !== TreeEntry::DIRECTORY) {
                throw new InvalidArgument('files: ' . Listing::shown($made) . ' is a file and a directory');
            }
        }
    }

    /** @param (\Closure(int): string)|null $read */
    private function insert(TreeEntry $entry, ?\Closure $read): void
    {
        if (count($this->sources) >= Listing::MAX_ENTRIES) {
            throw new InvalidArgument('files: more than ' . Listing::MAX_ENTRIES . ' files and directories');
        }
        $this->sources["/$entry->path"] = [$entry, $read];
    }

    /** @return \Closure(): SourceInterface what opens a file of this machine, which must be one that ends */
    private static function fileAt(string $path): \Closure
    {
        $open = static function () use ($path): SourceInterface {
            if (!@is_file($path)) { // a pipe would wait for its writer
                throw @file_exists($path) && !@is_dir($path)
                    ? new InvalidArgument("cannot read $path: it is no regular file")
                    : FileSource::unreadable($path, @file_exists($path));
            }

            return FileSource::open($path);
        };
        if (!@is_file($path) || !@is_readable($path)) {
            $open();
        }

        return $open;
    }

    /** @return array{dev: int, ino: int} */
    private static function stated(string $directory): array
    {
        $found = @is_dir($directory) ? @stat($directory) : false;

        return $found === false ? throw new InvalidArgument("files: $directory is no directory that can be read") : $found;
    }

    /** @return list<string> */
    private static function names(string $directory): array
    {
        $names = @scandir($directory, SCANDIR_SORT_NONE);
        if ($names === false) {
            throw new InvalidArgument("files: $directory is no directory that can be read");
        }

        return array_values(array_filter($names, static fn (string $name): bool => $name !== '.' && $name !== '..'));
    }

    /** Return a path in the tree as a listing has it, nothing for the root. */
    private static function guest(string $path): string
    {
        $guest = trim($path, '/');
        if ($guest === '' || $guest === JobFiles::ROOT) {
            return '';
        }
        self::check($guest);

        return $guest;
    }

    private static function check(string $path): void
    {
        try {
            Listing::checkPath($path);
        } catch (InvalidRecord $exception) {
            throw new InvalidArgument("files: {$exception->getMessage()}", 0, $exception);
        }
    }
}
