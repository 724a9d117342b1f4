<?php

declare(strict_types=1);

namespace Plasm\Verifier;

use Plasm\Manifest;

/**
 * Judges what nodes have signed, beyond the signature: by having several nodes run a job (docs/verification.md).
 *
 * The client has checked each claim's signature, job and output before a verifier sees it.
 */
interface VerifierInterface
{
    /** Return the word that its acceptances may establish, as the client's option `require` takes it. */
    public function name(): string;

    /** Return how many nodes are to run a job before `judge` is asked first. */
    public function plan(Manifest $manifest): Plan;

    /**
     * Accept, reject or leave undecided.
     *
     * An undecided opinion may ask for more executions: the client then has other nodes run the job, and asks again.
     * A rejection may name the nodes whose claims are false: the client does without them, and asks again.
     *
     * @param non-empty-list<Claim> $claims all of one task, each of another node
     */
    public function judge(array $claims): Opinion;
}
