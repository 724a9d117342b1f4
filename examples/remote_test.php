<?php

/*
 * Run a job on a stranger's machine and hold a verified receipt, with nothing but PHP.
 *
 *     php examples/remote_test.php /ip4/192.0.2.1/tcp/4001/p2p/12D3KooW…
 *
 * The argument is the address of any node of the network. The node that runs the job is found through it.
 */

declare(strict_types=1);

require __DIR__ . '/../php/autoload.php';

$bootstrap = array_slice($argv, 1);
if ($bootstrap === []) {
    fwrite(STDERR, "usage: php examples/remote_test.php BOOTSTRAP-ADDRESS…\n");
    exit(2);
}

$began = hrtime(true);
$say = static function (string $what, string $text) use ($began): void {
    printf("%7.3f s  %-10s %s\n", (hrtime(true) - $began) / 1e9, $what, $text);
};
$watch = static function (string $what, array $facts) use ($say): void {
    match ($what) {
        'searching' => $say('Searching', "nodes of the class {$facts['class']}"),
        'asking' => $say('Asking', "{$facts['remembered']} nodes remembered from the last time"),
        'found' => $say('Found', sprintf('%s at %s, in %.0f ms', $facts['peer'], $facts['address'], 1000 * $facts['latency_s'])),
        'passed over' => $say('Passed', "{$facts['peer']}: {$facts['reason']}"),
        'lost' => $say('Lost', "{$facts['peer']}: {$facts['reason']}"),
        'locating' => $say('Locating', $facts['peer']),
        'connected' => $say('Connected', $facts['peer']),
        'offered' => $say('Accepted', 'the node offers to take job ' . substr($facts['job_id'], 0, 16) . '…'),
        'sent' => $say('Sent', "{$facts['module']} bytes of module, {$facts['stdin']} of input"),
        default => null,
    };
};

try {
    printf("PHP %s on %s %s, knowing nobody but %s\n", PHP_VERSION, PHP_OS_FAMILY, php_uname('m'), implode(' and ', $bootstrap));
    $plasm = new Plasm\Client(['mode' => 'remote', 'bootstrap' => $bootstrap, 'watch' => $watch]);

    $jobId = $plasm->submit(__DIR__ . '/hello/hello.wasm', ['cpu' => 1, 'stdin' => 'Hello, World']);
    $say('Submitted', substr($jobId, 0, 20) . '… (anybody with the whole handle can fetch the output)');

    $plasm->wait($jobId, 60, static fn (Plasm\JobStatus $status) => $say('State', $status->state->value));
    $result = $plasm->result($jobId, 60);
    $say('Output', rtrim((string) $result));
    $say('Outcome', "$result->outcome, {$result->receipt->observed->gasUsed} gas");
    $runtime = $result->receipt->claims;
    $say('Claimed', "$runtime->runtimeName $runtime->runtimeVersion, $runtime->wallTimeMs ms of wall time (only the node's word)");
    echo "$result->verdict\n";
} catch (Plasm\Exception\ExceptionInterface $exception) {
    fwrite(STDERR, 'Failed     ' . $exception->getMessage() . "\n");
    exit(1);
}

exit($result->ok() ? 0 : 6);
