<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Exception\InvalidArgument;

/**
 * The files that a job left, by their paths in its tree: `$result->files['plots/a.png']->contents()`.
 *
 * @implements \ArrayAccess<string, ResultFile>
 * @implements \IteratorAggregate<string, ResultFile>
 */
final class ResultFiles implements \ArrayAccess, \Countable, \IteratorAggregate
{
    /** @var array<string, array{Output, TreeEntry|null}>|null by path, behind a slash that keeps it a string */
    private ?array $found = null;

    /** @param list<Output> $outputs those that the job left, by their paths */
    public function __construct(public readonly array $outputs = [])
    {
    }

    /** @param string $offset a path, with or without slashes around it */
    public function offsetExists(mixed $offset): bool
    {
        return isset($this->found()['/' . trim($offset, '/')]);
    }

    /** @param string $offset as of `offsetExists` */
    public function offsetGet(mixed $offset): ResultFile
    {
        [$output, $entry] = $this->found()['/' . trim($offset, '/')]
            ?? throw new InvalidArgument('the job left no file ' . Listing::shown($offset));

        return $entry === null ? $output->file() : $output->fileOf($entry);
    }

    public function offsetSet(mixed $offset, mixed $value): never
    {
        throw new \LogicException('what a job left is not changed');
    }

    public function offsetUnset(mixed $offset): never
    {
        throw new \LogicException('what a job left is not changed');
    }

    public function count(): int
    {
        return count($this->found());
    }

    /** @return \Generator<string, ResultFile> */
    public function getIterator(): \Generator
    {
        foreach ($this->found() as $path => $found) {
            yield substr($path, 1) => $found[1] === null ? $found[0]->file() : $found[0]->fileOf($found[1]);
        }
    }

    /**
     * Write an output, a file or a whole directory, to this machine. Nothing is written outside `$place`.
     *
     * @param string $path one of the paths of the option `outputs`
     *
     * @throws InvalidArgument if the job did not leave it, or it cannot be written; nothing of it is left then
     */
    public function save(string $path, string $place): void
    {
        $name = trim($path, '/');
        foreach ($this->outputs as $output) {
            if ($output->product->path === ($name === '' ? JobFiles::ROOT : $name)) {
                Destination::of($place)->write($output);

                return;
            }
        }
        throw new InvalidArgument('the job left no output ' . Listing::shown($path));
    }

    /**
     * Write all outputs, each under its path in the job's tree, into a directory, which is made or must be empty.
     *
     * @throws InvalidArgument if they cannot be written; nothing of them is left then
     */
    public function saveAll(string $directory): void
    {
        Destination::of($directory)->writeAll($this->outputs);
    }

    /** @return array<string, array{Output, TreeEntry|null}> */
    private function found(): array
    {
        if ($this->found === null) {
            $this->found = [];
            foreach ($this->outputs as $output) {
                $top = $output->product->path;
                if (!$output->isDirectory()) {
                    $this->found["/$top"] = [$output, null];
                }
                foreach ($output->entries() as $entry) {
                    if ($entry->kind === TreeEntry::FILE) {
                        $this->found[$top === JobFiles::ROOT ? "/$entry->path" : "/$top/$entry->path"] = [$output, $entry];
                    }
                }
            }
        }

        return $this->found;
    }
}
