<?php

declare(strict_types=1);

namespace Plasm\Fraud;

use Plasm\Files\Product;
use Plasm\PeerId;
use Plasm\Receipt;
use Plasm\Receipt\Asked;

/** The findings on a fraud proof without a run of its task. */
final readonly class Comparison
{
    /**
     * @param non-empty-list<Receipt> $receipts those with an outcome that can be re-checked
     * @param list<PeerId> $convicted nodes that signed two different receipts of the task
     * @param list<string> $missing the task's inputs that the proof lacks
     */
    public function __construct(
        public Asked $asked,
        public array $receipts,
        public array $convicted,
        public array $missing,
    ) {
    }

    /** Tell whether two receipts differ: then at least one is false. */
    public function differ(): bool
    {
        return count(array_unique(array_map(self::observables(...), $this->receipts))) > 1;
    }

    /** Return all that two runs of one task must agree on, as a text to compare. */
    public static function observables(Receipt $receipt): string
    {
        $observed = $receipt->observed;

        return implode(' ', [
            $observed->outcome->kind->value,
            $observed->outcome->code ?? '-',
            $observed->outcome->trap ?? '-',
            $observed->gasUsed,
            $observed->stdout,
            $observed->stdoutBytes,
            $observed->stderr,
            $observed->stderrBytes,
            ...array_map(static fn (Product $left): string => "{$left->subject()} $left->sha256", $observed->files),
        ]);
    }
}
