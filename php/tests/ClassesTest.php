<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;

/** All classes of the package can be loaded: a class that lacks a method of its interface ends PHP where it is first used. */
final class ClassesTest extends TestCase
{
    public function testEachFileHasTheClassOfItsName(): void
    {
        $source = dirname(__DIR__) . '/src';
        $code = <<<'PHP'
            require "$argv[1]/../autoload.php";
            $files = new RecursiveIteratorIterator(new RecursiveDirectoryIterator($argv[1], FilesystemIterator::SKIP_DOTS));
            foreach ($files as $file) {
                $class = 'Plasm\\' . strtr(substr($file->getPathname(), strlen($argv[1]) + 1, -4), '/', '\\');
                class_exists($class) || interface_exists($class) || exit("$file has no $class");
            }
            echo 'all are loaded';
            PHP;
        $process = proc_open([PHP_BINARY, '-r', $code, $source], [1 => ['pipe', 'w'], 2 => ['redirect', 1]], $pipes);
        self::assertIsResource($process);
        $said = stream_get_contents($pipes[1]);
        proc_close($process);

        self::assertSame('all are loaded', $said);
    }
}
