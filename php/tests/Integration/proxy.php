<?php

/*
 * Stands between a client and a daemon and changes what the daemon says.
 *
 *     php proxy.php LISTEN UPSTREAM output|contents|missing|receipt|node|replay|cut [ENVELOPE]
 *
 * `cut` changes nothing, but breaks the first three connections that carry more than a megabyte.
 */

declare(strict_types=1);

require __DIR__ . '/../../autoload.php';

use Plasm\Envelope;
use Plasm\Testing\ReceiptSigner;

[, $listen, $upstream, $mode] = $argv;
$replayed = isset($argv[4]) ? (string) file_get_contents($argv[4]) : '';

$forge = static function (string $envelopeJson) use ($mode, $replayed): string {
    $envelope = Envelope::fromJson($envelopeJson);
    $other = ReceiptSigner::withFreshKey();

    return match ($mode) {
        'output', 'contents', 'missing', 'cut' => $envelopeJson,
        'receipt' => str_replace(
            base64_encode($envelope->payload),
            base64_encode(str_replace('"gasUsed":"', '"gasUsed":"1', $envelope->payload)),
            $envelopeJson,
        ),
        'node' => $other->sign((string) preg_replace('/12D3KooW\w+/', (string) $other->peer, $envelope->payload))->toJson(),
        'replay' => $replayed,
    };
};

$change = static function (string $frame) use ($mode, $forge): string {
    if ($mode === 'output' && ord($frame[0]) === 1 && ord($frame[1]) === 5) {
        return substr_replace($frame, $frame[10] === 'x' ? 'y' : 'x', 10, 1);
    }
    if ($mode === 'contents' && ord($frame[0]) === 1 && ord($frame[1]) === 8) {
        return substr($frame, 0, -1) . chr(ord($frame[-1]) ^ 1);
    }
    $message = ord($frame[0]) === 0 ? json_decode(substr($frame, 1)) : null;
    if ($mode === 'missing' && $message?->type === 'contents') {
        return "\0" . json_encode(['kind' => 'none', 'size' => 0] + (array) $message, JSON_THROW_ON_ERROR);
    }
    if ($message?->type !== 'result') {
        return $frame;
    }
    $message->envelope = $forge($message->envelope);

    return "\0" . json_encode($message, JSON_THROW_ON_ERROR);
};

$server = stream_socket_server("unix://$listen") ?: exit(1);
$cuts = $mode === 'cut' ? 3 : 0;
echo "ready\n";
while (($client = @stream_socket_accept($server, 60)) !== false) {
    $daemon = stream_socket_client("unix://$upstream") ?: exit(1);
    $line = (string) fgets($client);
    fwrite($daemon, $line);
    fwrite($client, (string) fgets($daemon));
    stream_set_blocking($client, false);
    stream_set_blocking($daemon, false);
    $buffer = '';
    $passed = 0;
    while (!feof($client) && !feof($daemon)) {
        [$read, $write, $except] = [[$client, $daemon], null, null];
        stream_select($read, $write, $except, 60);
        if ($cuts > 0 && $passed > 1 << 20) {
            --$cuts;
            break;
        }
        $up = (string) fread($client, 65_536);
        $passed += strlen($up);
        stream_set_blocking($daemon, true);
        fwrite($daemon, $up);
        stream_set_blocking($daemon, false);
        $buffer .= (string) fread($daemon, 65_536);
        while (strlen($buffer) >= 4 && strlen($buffer) >= ($end = 4 + unpack('N', $buffer)[1])) {
            $frame = $change(substr($buffer, 4, $end - 4));
            $buffer = substr($buffer, $end);
            $passed += $end;
            stream_set_blocking($client, true);
            @fwrite($client, pack('N', strlen($frame)) . $frame);
            stream_set_blocking($client, false);
        }
    }
    fclose($client);
    fclose($daemon);
}
