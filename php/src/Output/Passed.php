<?php

declare(strict_types=1);

namespace Plasm\Output;

use Plasm\Protocol\Channel;

/**
 * Passes a job's output to a callback as it arrives, without storing it.
 *
 * The output of another attempt is compared with the bytes that were passed on, and skipped while it is equal. If it
 * differs, those bytes came from a failed attempt: `$again` is called, and the new attempt's output is passed on from
 * its beginning.
 */
final class Passed implements OutputInterface
{
    private const CHUNK_BYTES = 65_536;

    private int $attempt = 0;

    /** @var array<int, Digester> of the attempt */
    private array $digesters;

    /** @var array<int, Digester> of the bytes that were passed on */
    private array $shown;

    /** @var array<int, Spool> the new attempt's bytes that repeat those passed on before */
    private array $compared = [];

    private readonly \Closure $again;

    /** @var array<int, int> how many bytes are still to be left out */
    private array $skipped = [];

    /**
     * @param \Closure(string, string): mixed $callback receives `stdout` or `stderr`, and bytes
     * @param (\Closure(string): mixed)|null $again receives `stdout` or `stderr`, whose bytes then follow from the
     *     beginning
     * @param array<string, int> $from how many bytes of each were passed on earlier, and are skipped
     */
    public function __construct(private readonly \Closure $callback, ?\Closure $again = null, array $from = [])
    {
        foreach (Channel::OUTPUTS as $channel) {
            $this->skipped[$channel->value] = $from[$channel->label()] ?? 0;
        }
        $this->again = $again ?? static fn (string $where): mixed => null;
        $this->shown = [Channel::Stdout->value => new Digester(), Channel::Stderr->value => new Digester()];
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
        $this->compared = [];
        foreach (Channel::OUTPUTS as $channel) {
            if ($this->shown[$channel->value]->size() > 0) {
                $this->compared[$channel->value] = new Spool();
            }
        }
    }

    public function take(Channel $channel, string $bytes): void
    {
        $this->digester($channel)->update($bytes);
        $compared = $this->compared[$channel->value] ?? null;
        if ($compared !== null) {
            $wanted = $this->shown[$channel->value]->size() - $compared->size();
            $compared->append(substr($bytes, 0, $wanted));
            if ($compared->size() < $this->shown[$channel->value]->size()) {
                return;
            }
            $this->settleOne($channel, $compared);
            $bytes = substr($bytes, $wanted);
        }
        if ($bytes !== '') {
            $this->handOn($channel, $bytes);
        }
    }

    /** Record that the job has ended, so that no more output follows. */
    public function settle(): void
    {
        foreach (Channel::OUTPUTS as $channel) {
            if (isset($this->compared[$channel->value])) {
                $this->settleOne($channel, $this->compared[$channel->value]);
            }
        }
    }

    public function digester(Channel $channel): Digester
    {
        return $this->digesters[$channel->value];
    }

    private function settleOne(Channel $channel, Spool $compared): void
    {
        unset($this->compared[$channel->value]);
        $shown = $this->shown[$channel->value];
        if ($compared->size() === $shown->size() && $compared->sha256() === $shown->sha256()) {
            return;
        }
        $this->shown[$channel->value] = new Digester();
        $this->skipped[$channel->value] = 0;
        ($this->again)($channel->label());
        $stream = $compared->stream();
        while (($bytes = (string) fread($stream, self::CHUNK_BYTES)) !== '') {
            $this->handOn($channel, $bytes);
        }
    }

    private function handOn(Channel $channel, string $bytes): void
    {
        $this->shown[$channel->value]->update($bytes);
        $skipped = min($this->skipped[$channel->value], strlen($bytes));
        $this->skipped[$channel->value] -= $skipped;
        if ($skipped < strlen($bytes)) {
            ($this->callback)($channel->label(), substr($bytes, $skipped));
        }
    }
}
