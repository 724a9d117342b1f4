<?php

/*
 * Run a job on this machine and hold a verified receipt.
 *
 *     plasmd --detach
 *     php examples/local_test.php
 */

declare(strict_types=1);

require __DIR__ . '/../php/autoload.php';

try {
    $plasm = new Plasm\Client();

    foreach ($plasm->discover() as $node) {
        echo "Found      $node->peer ($node->agent)\n";
    }

    $jobId = $plasm->submit(__DIR__ . '/hello/hello.wasm', ['cpu' => 1]);
    echo 'Submitted  ', substr($jobId, 0, 20), "… (anybody with the whole handle can fetch the output)\n";

    $result = $plasm->result($jobId, timeout: 60);
    echo 'Output     ', rtrim((string) $result), "\n";
    echo "Outcome    $result->outcome, {$result->receipt->observed->gasUsed} gas\n";
    echo "$result->verdict\n";
} catch (Plasm\Exception\ExceptionInterface $exception) {
    fwrite(STDERR, 'Failed     ' . $exception->getMessage() . "\n");
    exit(1);
}

exit($result->ok() ? 0 : 6);
