<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;

/** Random choices are the system's: a program that seeds PHP's generator neither foresees ours nor is disturbed by them. */
final class RandomnessTest extends TestCase
{
    public function testNothingDrawsFromTheGeneratorThatProgramsShare(): void
    {
        $files = new \RecursiveIteratorIterator(new \RecursiveDirectoryIterator(__DIR__ . '/../src'));
        $read = 0;
        $drawing = [];
        foreach ($files as $file) {
            if ($file->getExtension() !== 'php') {
                continue;
            }
            $read++;
            $names = array_column(array_filter(token_get_all((string) file_get_contents((string) $file)), 'is_array'), 1);
            if (array_intersect($names, ['rand', 'mt_rand', 'shuffle', 'str_shuffle', 'array_rand', 'mt_srand', 'srand']) !== []) {
                $drawing[] = $file->getFilename();
            }
        }

        self::assertGreaterThan(100, $read);
        self::assertSame([], $drawing);
    }
}
