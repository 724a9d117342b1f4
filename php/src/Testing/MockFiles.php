<?php

declare(strict_types=1);

namespace Plasm\Testing;

use Plasm\Digest;
use Plasm\Files\FileTree;
use Plasm\Files\Product;

/** The output files of a job that a `MockTransport` serves. */
final readonly class MockFiles
{
    /** @param array<string, string|array<string, string>> $outputs by path: a file's bytes, or the files in a directory */
    public function __construct(private array $outputs)
    {
    }

    /** @return list<Product> the products that a receipt states */
    public function products(): array
    {
        $products = [];
        foreach ($this->outputs as $path => $content) {
            $products[] = is_string($content)
                ? new Product($path, 'file', Digest::of($content))
                : new Product($path, 'tree', FileTree::of($content)->tree);
        }

        return $products;
    }

    /**
     * Return an output's kind and its bytes: those of a file, or a tree's pack.
     *
     * @return array{string, string}
     */
    public function contents(string $path): array
    {
        $content = $this->outputs[$path] ?? null;
        if (is_array($content)) {
            $pack = FileTree::of($content);

            return ['tree', $pack->read(0, $pack->size())];
        }

        return [$content === null ? 'none' : 'file', $content ?? ''];
    }
}
