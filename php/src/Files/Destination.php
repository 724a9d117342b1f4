<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidArgument;

/**
 * Where an output goes on this machine: inside the place that the caller named, and nowhere else.
 *
 * Files and directories are made under a random name beside their place, and moved there once they are complete. So no
 * name that the job chose meets a file that was there before, and a link cannot lead out of it: none is ever made.
 */
final readonly class Destination
{
    /** @param string $path absolute, without links but those that are made while it is written */
    private function __construct(private string $name, private string $path)
    {
    }

    /** @throws InvalidArgument if nothing can be written there */
    public static function of(string $name): self
    {
        if ($name === '' || str_contains($name, "\0") || preg_match('/\A[A-Za-z][A-Za-z0-9+.-]*:\/\//', $name) === 1) {
            throw new InvalidArgument('cannot write ' . Listing::shown($name) . ': expected the path of a file or directory');
        }
        clearstatcache();
        $place = rtrim($name, '/') === '' ? '/' : rtrim($name, '/');
        $real = @realpath($place);
        if ($real !== false) {
            return new self($name, $real);
        }
        $parent = @is_link($place) ? false : @realpath(dirname($place));
        if ($parent === false || !@is_dir($parent) || in_array(basename($place), ['.', '..'], true)) {
            throw new InvalidArgument("cannot write $name: there is no directory " . dirname($place));
        }

        return new self($name, rtrim($parent, '/') . '/' . basename($place));
    }

    /** @throws InvalidArgument */
    public function writeFile(ResultFile $file): void
    {
        if (is_dir($this->path)) {
            throw $this->failed('it is a directory, and the job left a file');
        }
        if (file_exists($this->path) && !is_file($this->path)) {
            throw $this->failed('it is no regular file');
        }
        $mode = is_file($this->path) ? fileperms($this->path) : false;
        $this->replace(fn (string $temporary) => $this->create($temporary, $file, $mode === false ? null : $mode & 0777));
    }

    /** @throws InvalidArgument */
    public function write(Output $output): void
    {
        if (!$output->isDirectory()) {
            $this->writeFile($output->file());

            return;
        }
        $this->mustBeFree();
        $this->replace(function (string $temporary) use ($output): void {
            $this->makeDirectory($temporary);
            $this->fill($temporary, $output);
        });
    }

    /**
     * @param list<Output> $outputs
     *
     * @throws InvalidArgument
     */
    public function writeAll(array $outputs): void
    {
        $this->mustBeFree();
        $this->replace(function (string $temporary) use ($outputs): void {
            $this->makeDirectory($temporary);
            foreach ($outputs as $output) {
                $path = $output->product->path;
                if ($path === JobFiles::ROOT) {
                    $this->fill($temporary, $output);
                    continue;
                }
                Listing::checkPath($path);
                $parents = explode('/', $path);
                $last = array_pop($parents);
                $place = $temporary;
                foreach ($parents as $name) {
                    $place .= "/$name";
                    if (!is_dir($place)) { // of two outputs that lie in one directory
                        $this->makeDirectory($place);
                    }
                }
                if (!$output->isDirectory()) {
                    $this->create("$place/$last", $output->file());
                    continue;
                }
                $this->makeDirectory("$place/$last");
                $this->fill("$place/$last", $output);
            }
        });
    }

    private function mustBeFree(): void
    {
        if (file_exists($this->path) && !is_dir($this->path)) {
            throw $this->failed('it is a file, and the job left a directory');
        }
        $names = is_dir($this->path) ? @scandir($this->path) : [];
        if ($names === false || array_diff($names, ['.', '..']) !== []) {
            throw $this->failed('the directory is not empty: name a new directory, or an empty one');
        }
    }

    /** @param \Closure(string): mixed $make makes what is to lie here, at a path beside it */
    private function replace(\Closure $make): void
    {
        $temporary = dirname($this->path) . '/.plasm-' . bin2hex(random_bytes(16)) . '.new';
        try {
            $make($temporary);
            if (is_dir($temporary) && !is_link($this->path)) {
                @rmdir($this->path); // an empty one, which was there before
            }
            if (!@rename($temporary, $this->path)) {
                throw $this->failed(self::reason());
            }
        } catch (\Throwable $exception) {
            self::remove($temporary);
            throw $exception;
        }
    }

    private function fill(string $directory, Output $output): void
    {
        foreach ($output->entries() as $entry) {
            Listing::checkPath($entry->path); // it was checked when it came: here a mistake would be an escape
            if ($entry->kind === TreeEntry::DIRECTORY) {
                $this->makeDirectory("$directory/$entry->path");
            } else {
                $this->create("$directory/$entry->path", $output->fileOf($entry));
            }
        }
    }

    private function makeDirectory(string $path): void
    {
        if (!@mkdir($path)) {
            throw $this->failed(self::reason());
        }
    }

    /** @param int|null $mode that of the file which it is to replace */
    private function create(string $path, ResultFile $file, ?int $mode = null): void
    {
        $stream = @fopen($path, 'xb'); // O_EXCL: a link that lies there is not followed
        if ($stream === false) {
            throw $this->failed(self::reason());
        }
        try {
            if ($mode !== null && !@chmod($path, $mode)) {
                throw $this->failed(self::reason());
            }
            $file->copyTo($stream);
        } finally {
            $closed = fclose($stream);
        }
        if (!$closed) {
            throw $this->failed('is the disk full?');
        }
    }

    private function failed(string $why): InvalidArgument
    {
        return new InvalidArgument("cannot write $this->name: $why");
    }

    private static function reason(): string
    {
        return error_get_last()['message'] ?? 'the reason is not known';
    }

    private static function remove(string $path): void
    {
        if (is_dir($path) && !is_link($path)) {
            foreach (@scandir($path) ?: [] as $name) {
                if ($name !== '.' && $name !== '..') {
                    self::remove("$path/$name");
                }
            }
            @rmdir($path);
        } else {
            @unlink($path);
        }
    }
}
