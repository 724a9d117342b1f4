<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use Plasm\Libp2p\Multiaddr;

/** Several hosts of py-libp2p in one process, that form one Kademlia table. */
final class PyLibp2p
{
    private const START_S = 60.0;

    /** @var resource */
    private $process;

    /** @var array<int, resource> */
    private array $pipes;

    /** @param list<Multiaddr> $addresses one of each host; the last one provides the key */
    private function __construct($process, array $pipes, public readonly array $addresses, public readonly string $key)
    {
        $this->process = $process;
        $this->pipes = $pipes;
    }

    /** Return the interpreter that has libp2p, as `PLASM_TEST_PYTHON` or the project's own; null if there is none. */
    public static function interpreter(): ?string
    {
        foreach ([getenv('PLASM_TEST_PYTHON'), dirname(__DIR__, 3) . '/.venv/bin/python', 'python3'] as $python) {
            if (is_string($python) && $python !== '') {
                $check = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("libp2p") is None)';
                exec(escapeshellarg($python) . ' -c ' . escapeshellarg($check) . ' 2>/dev/null', result_code: $code);
                if ($code === 0) {
                    return $python;
                }
            }
        }

        return null;
    }

    public static function start(string $python, int $hosts): self
    {
        $process = proc_open(
            [$python, __DIR__ . '/libp2p_node.py', '--hosts', (string) $hosts],
            [['pipe', 'r'], ['pipe', 'w'], ['file', '/dev/null', 'w']],
            $pipes,
        );
        if ($process === false) {
            throw new \RuntimeException("cannot start $python");
        }
        stream_set_blocking($pipes[1], false);
        $line = '';
        for ($end = microtime(true) + self::START_S; !str_ends_with($line, "\n");) {
            $read = [$pipes[1]];
            $none = null;
            if (stream_select($read, $none, $none, 1) > 0) {
                $line .= (string) fgets($pipes[1]);
            }
            if (feof($pipes[1]) || microtime(true) > $end) {
                proc_terminate($process, SIGKILL);
                throw new \RuntimeException('the hosts of py-libp2p did not start');
            }
        }
        $said = json_decode($line, true, flags: JSON_THROW_ON_ERROR);

        return new self($process, $pipes, array_map(Multiaddr::parse(...), $said['addresses']), sodium_hex2bin($said['key']));
    }

    public function close(): void
    {
        fclose($this->pipes[0]);
        for ($end = microtime(true) + 10; proc_get_status($this->process)['running']; usleep(10_000)) {
            if (microtime(true) > $end) {
                proc_terminate($this->process, SIGKILL);
            }
        }
        proc_close($this->process);
    }
}
