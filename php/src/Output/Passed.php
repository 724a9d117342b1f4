<?php

declare(strict_types=1);

namespace Plasm\Output;

use Plasm\Protocol\Channel;

/**
 * Hands a job's output on as it comes and keeps none of it.
 *
 * Of another attempt, which brings the same bytes again, as many as were handed on are left out.
 */
final class Passed implements OutputInterface
{
    private int $attempt = 0;

    /** @var array<int, Digester> */
    private array $digesters;

    /** @var array<int, int> how many bytes were handed on */
    private array $shown = [];

    /** @param \Closure(string, string): mixed $callback takes `stdout` or `stderr`, and some bytes */
    public function __construct(private readonly \Closure $callback)
    {
        $this->begin(0);
    }

    public function attempt(): int
    {
        return $this->attempt;
    }

    public function position(Channel $channel): int
    {
        return $this->digester($channel)->size();
    }

    public function begin(int $attempt): void
    {
        $this->attempt = $attempt;
        $this->digesters = [Channel::Stdout->value => new Digester(), Channel::Stderr->value => new Digester()];
    }

    public function take(Channel $channel, string $bytes): void
    {
        $offset = $this->position($channel);
        $this->digester($channel)->update($bytes);
        $shown = $this->shown[$channel->value] ?? 0;
        $new = substr($bytes, max(0, $shown - $offset));
        if ($new !== '') {
            $this->shown[$channel->value] = $offset + strlen($bytes);
            ($this->callback)($channel->label(), $new);
        }
    }

    public function digester(Channel $channel): Digester
    {
        return $this->digesters[$channel->value];
    }
}
