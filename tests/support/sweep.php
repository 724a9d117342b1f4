<?php

/*
 * Run jobs by the PHP client on nodes that it finds, one after the other, and print a line of JSON for each.
 *
 *     php tests/support/sweep.php BOOTSTRAP MODULE CACHE WALL_TIME_S FIRST JOBS
 */

declare(strict_types=1);

require __DIR__ . '/../../php/autoload.php';

[, $bootstrap, $module, $cache, $wall, $first, $jobs] = $argv;
$accepted = 0;
$plasm = new Plasm\Client([
    'mode' => 'remote',
    'bootstrap' => $bootstrap,
    'cache' => $cache,
    'allow_private' => true,
]);
for ($number = (int) $first; $number < (int) $first + (int) $jobs; $number++) {
    $text = "job {$number} of the sweep";
    $began = hrtime(true);
    $node = '';
    $problem = null;
    try {
        $result = $plasm->run($module, ['stdin' => $text, 'wall_time' => (int) $wall]);
        $node = (string) $result->receipt->node;
        if (!$result->ok() || $result->stdout() !== strrev($text)) {
            $problem = 'wrong result: ' . $result->outcome->kind->value . ' ' . substr($result->stdout(), 0, 80);
        }
    } catch (Plasm\Exception\ExceptionInterface $exception) {
        $problem = $exception::class . ': ' . $exception->getMessage();
    }
    echo json_encode([
        'number' => $number,
        'seconds' => (hrtime(true) - $began) / 1e9,
        'node' => $node,
        'problem' => $problem,
    ], JSON_THROW_ON_ERROR | JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
