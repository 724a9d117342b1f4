<?php

/*
 * Run a small job so often, one at a time, and print the seconds that each took: what benchmarks/end_to_end.py calls.
 *
 *     php benchmarks/end_to_end.php MODULE WORD COUNT
 */

declare(strict_types=1);

require __DIR__ . '/../php/autoload.php';

[, $module, $word, $count] = $argv;
$plasm = new Plasm\Client();
$options = ['args' => [$word], 'output' => '1MiB', 'memory' => '16MiB'];
for ($number = 0; $number < (int) $count; $number++) {
    $began = hrtime(true);
    $result = $plasm->run($module, $options);
    $seconds = (hrtime(true) - $began) / 1e9;
    if ($result->stdout() !== strrev($word) . "\n") {
        exit(1);
    }
    printf("%.6f\n", $seconds);
}
