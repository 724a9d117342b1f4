<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

/** Real daemons that find each other on the loopback interface: examples/small_network.py. */
final class Network
{
    private const START_S = 120.0;

    /** @var array<string, array{address: string, pid: int, home: string}> by name */
    public array $nodes = [];

    /** @var resource */
    private $process;

    /** @var array<int, resource> */
    private array $pipes;

    /** @param list<string> $arguments */
    private function __construct(string $python, array $arguments, int $nodes)
    {
        $root = dirname(__DIR__, 3);
        $process = proc_open(
            [$python, "$root/examples/small_network.py", ...$arguments],
            [['pipe', 'r'], ['pipe', 'w'], ['pipe', 'w']],
            $pipes,
            $root,
        );
        if ($process === false) {
            throw new \RuntimeException("cannot start $python");
        }
        $this->process = $process;
        $this->pipes = $pipes;
        stream_set_blocking($pipes[1], false);
        $end = microtime(true) + self::START_S;
        for ($text = ''; substr_count($text, "\n") < $nodes;) {
            $read = [$pipes[1]];
            $none = null;
            $text .= stream_select($read, $none, $none, 1) > 0 ? (string) fread($pipes[1], 8192) : '';
            if (feof($pipes[1]) || microtime(true) > $end) {
                proc_terminate($process);
                throw new \RuntimeException('the network did not start: ' . stream_get_contents($pipes[2]));
            }
        }
        foreach (explode("\n", trim($text)) as $line) {
            [$name, $address, $pid, $home] = explode(' ', $line);
            $this->nodes[$name] = ['address' => $address, 'pid' => (int) $pid, 'home' => $home];
        }
    }

    /** Start a bootstrap node and workers; null if no Python here has libp2p. */
    public static function tryStart(int $workers, bool $hasGateway = false): ?self
    {
        $python = PyLibp2p::interpreter();
        $arguments = ['--workers', (string) $workers, ...($hasGateway ? ['--gateway'] : [])];

        return $python === null ? null : new self($python, $arguments, 1 + $workers + (int) $hasGateway);
    }

    /** Start another worker, which can be done away with. */
    public function extended(string $name): self
    {
        $arguments = ['--workers', '1', '--name', $name, '--bootstrap', $this->bootstrap()];

        return new self((string) PyLibp2p::interpreter(), $arguments, 1);
    }

    public function bootstrap(): string
    {
        return $this->nodes['bootstrap']['address'];
    }

    public function peer(string $name): string
    {
        return substr((string) strrchr($this->nodes[$name]['address'], '/'), 1);
    }

    public function signal(string $name, int $signal): void
    {
        posix_kill($this->nodes[$name]['pid'], $signal);
    }

    /** How many jobs a node has accepted. */
    public function accepted(string $name): int
    {
        return substr_count((string) file_get_contents("{$this->nodes[$name]['home']}/log"), 'job accepted');
    }

    public function close(): void
    {
        fclose($this->pipes[0]);
        for ($end = microtime(true) + 20; proc_get_status($this->process)['running']; usleep(10_000)) {
            if (microtime(true) > $end) {
                proc_terminate($this->process, SIGKILL);
            }
        }
        proc_close($this->process);
    }
}
