<?php

declare(strict_types=1);

namespace Plasm\Files;

use Plasm\Evidence;
use Plasm\Exception\ExceptionInterface;
use Plasm\Exception\FilesNotServed;
use Plasm\Exception\ProtocolError;
use Plasm\Exception\Refused;
use Plasm\Exception\TimedOut;
use Plasm\Handle;
use Plasm\Time\ClockInterface;
use Plasm\VerifiedReceipt;

/** Fetches what a job left, and compares it with the receipt, which has been verified. */
final readonly class OutputFetch
{
    /**
     * @param \Closure(Fetching): mixed $fetch takes the rest of an output from the node, over several connections if need be
     * @param ClockInterface|null $bounding null for a node of this user's own, which is not hurried
     */
    public function __construct(private \Closure $fetch, private ?ClockInterface $bounding)
    {
    }

    /**
     * @param int|null $inputBytes those of the job's input files; null if this process does not know them
     *
     * @throws FilesNotServed if the node has not what its receipt states, or does not serve it
     * @throws ExceptionInterface
     */
    public function all(Handle $handle, VerifiedReceipt $verified, ?int $inputBytes): ResultFiles
    {
        $asked = $verified->receipt->asked->task->files;
        if ($asked === null || $verified->receipt->observed->files === []) {
            return new ResultFiles();
        }
        $limits = FetchLimits::of($asked, $inputBytes);
        $outputs = [];
        try {
            foreach ($verified->receipt->observed->files as $product) {
                $fetching = new Fetching($product, $limits, $this->bounding);
                ($this->fetch)($fetching);
                $output = $fetching->finish();
                $limits = $limits->less(count($output->entries()) + 1, $output->fileBytes());
                $outputs[] = $output;
            }
        } catch (ProtocolError | Refused | TimedOut $exception) {
            if ($exception instanceof TimedOut && $exception->limit !== 'node') {
                throw $exception;
            }
            $file = Evidence::keep($handle->peer, $handle->jobId, $exception->getMessage(), $verified->envelopeJson);
            $kept = $file === null ? '' : " (kept in $file)";
            throw new FilesNotServed($exception->getMessage() . $kept, null, $exception);
        }

        return new ResultFiles($outputs);
    }
}
