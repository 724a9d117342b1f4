<?php

/*
 * Run examples/hello on one node, found through another, and say how it was reached:
 *
 *     php tests/lab/php_client.php BOOTSTRAP-ADDRESS,… PEER CACHE-DIRECTORY
 */

declare(strict_types=1);

require __DIR__ . '/../../php/autoload.php';

[, $bootstrap, $peer, $cache] = $argv;
$reached = [];
$plasm = new Plasm\Client(
    [
        'mode' => 'remote',
        'bootstrap' => explode(',', $bootstrap),
        'cache' => $cache,
        'watch' => static function (string $what, array $facts) use (&$reached): void {
            if ($what === 'connected') {
                $reached[] = $facts['address'];
            }
        },
    ],
    pinned: [$peer],
);
$result = $plasm->run(__DIR__ . '/../../examples/hello/hello.wasm', ['cpu' => 1, 'stdin' => 'Hello, World'], timeout: 60);
echo json_encode([
    'stdout' => (string) $result,
    'verdict' => (string) $result->verdict,
    'reached' => $reached,
], JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES), "\n";
