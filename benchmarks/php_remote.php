<?php

/*
 * Run jobs on a node that is found in the DHT, and print how long each took: what benchmarks/php_remote.py calls.
 *
 *     php benchmarks/php_remote.php BOOTSTRAP MODULE INPUT…
 *
 * A job for each input. A line each: seconds, bytes of output, bytes of resident memory at most.
 */

declare(strict_types=1);

require __DIR__ . '/../php/autoload.php';

[, $bootstrap, $module] = $argv;
$plasm = new Plasm\Client(['mode' => 'remote', 'bootstrap' => $bootstrap, 'cache' => false]);
$plasm->discover();
$resident = static fn (): int => preg_match('/^VmHWM:\s+(\d+) kB/m', (string) @file_get_contents('/proc/self/status'), $found) === 1
    ? 1024 * (int) $found[1]
    : memory_get_peak_usage(true);
foreach (array_slice($argv, 3) as $input) {
    $options = ['output' => '64MiB', 'memory' => '256MiB'];
    $began = hrtime(true);
    $result = $module === 'INPUT'
        ? $plasm->run($input, $options)
        : $plasm->run($module, ['stdin' => fopen($input, 'rb')] + $options);
    $seconds = (hrtime(true) - $began) / 1e9;
    $size = fstat($result->stdoutStream())['size'];
    printf("%.3f %d %d\n", $seconds, $size, $resident());
}
