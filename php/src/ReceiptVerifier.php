<?php

declare(strict_types=1);

namespace Plasm;

use Plasm\Exception\BadSignature;
use Plasm\Exception\ContradictoryReceipt;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\MalformedReceipt;
use Plasm\Exception\ReceiptRejected;
use Plasm\Exception\UntrustedSigner;
use Plasm\Exception\WrongJob;
use Plasm\Exception\WrongNode;
use Plasm\Exception\WrongOutput;
use Plasm\Exception\WrongTask;
use Plasm\Receipt\Consistency;

/** Verifies receipts: the signature of a trusted key, and the match with the caller's request (docs/receipts.md). */
final class ReceiptVerifier
{
    /**
     * Verify an envelope and parse the bytes that were verified.
     *
     * @throws ReceiptRejected subclasses name the reason
     */
    public function verify(string $envelopeJson, Expectation $expectation): VerifiedReceipt
    {
        try {
            $envelope = Envelope::fromJson($envelopeJson);
        } catch (InvalidRecord $exception) {
            throw new MalformedReceipt([$exception->getMessage()], $exception);
        }
        $signer = self::signer($envelope, $expectation->trusted);
        if ($envelope->payloadType !== Envelope::RECEIPT_TYPE) {
            throw new MalformedReceipt(['the payload is not of the type ' . Envelope::RECEIPT_TYPE]);
        }
        try {
            $receipt = Receipt::fromStatement($envelope->payload);
        } catch (InvalidRecord $exception) {
            throw new MalformedReceipt([$exception->getMessage()], $exception);
        }
        if (!$receipt->node->equals($signer) && !self::isTrustedSignature($envelope, $receipt->node, $expectation)) {
            throw new WrongNode(["the receipt names the node $receipt->node, but is signed by $signer"]);
        }
        $established = self::bind($receipt, $expectation);
        $contradictions = Consistency::contradictions($receipt, $expectation->manifest);
        if ($contradictions !== []) {
            throw new ContradictoryReceipt(array_map(
                static fn (string $rule): string => "the receipt contradicts itself: $rule",
                $contradictions,
            ));
        }

        $verdict = new Verdict($receipt->node, ['signature', ...$established], outcome: $receipt->observed->outcome);

        return new VerifiedReceipt($receipt, $verdict, $envelopeJson);
    }

    /**
     * Return the trusted key that has signed.
     *
     * @param list<PeerId> $trusted
     */
    private static function signer(Envelope $envelope, array $trusted): PeerId
    {
        foreach ($trusted as $peer) {
            if ($envelope->isSignedBy($peer)) {
                return $peer;
            }
        }
        // It is rejected in any case. The payload is looked into only to say why.
        try {
            $named = Receipt::fromStatement($envelope->payload)->node;
        } catch (InvalidRecord) {
            throw new BadSignature(['no signature of a trusted key is valid']);
        }
        if ($envelope->isSignedBy($named)) {
            throw new UntrustedSigner(["signed by $named, a key that is not trusted here"]);
        }
        throw new BadSignature(["no signature of $named, the node it names, is valid"]);
    }

    /** Tell whether an envelope with several signatures has that of the node, and the node is trusted. */
    private static function isTrustedSignature(Envelope $envelope, PeerId $node, Expectation $expectation): bool
    {
        foreach ($expectation->trusted as $peer) {
            if ($peer->equals($node)) {
                return $envelope->isSignedBy($node);
            }
        }

        return false;
    }

    /**
     * Compare each expected value with the receipt.
     *
     * @return list<string> the facts that were compared
     */
    private static function bind(Receipt $receipt, Expectation $expectation): array
    {
        $manifest = $expectation->manifest;
        $asked = $receipt->asked;
        $bindings = [
            [WrongNode::class, 'node', $expectation->node?->__toString(), (string) $receipt->node],
            [WrongJob::class, 'job', $expectation->jobId, $asked->jobId],
            [WrongJob::class, 'job', $manifest?->jobId(), $asked->jobId],
            [WrongTask::class, 'task', $manifest?->taskDigest(), $asked->taskDigest],
        ];
        foreach (['module', 'args', 'env', 'stdin'] as $name) {
            $bindings[] = [WrongTask::class, $name, $expectation->$name, $asked->task->$name];
            $bindings[] = [WrongTask::class, $name, $manifest?->task->$name, $asked->task->$name];
        }
        $bindings[] = [WrongTask::class, 'input files', $expectation->tree, $asked->task->files->tree ?? 'none'];
        $bindings[] = [WrongOutput::class, 'stdout', $expectation->stdout, $receipt->observed->stdout];
        $bindings[] = [WrongOutput::class, 'stderr', $expectation->stderr, $receipt->observed->stderr];

        $reasons = [];
        $established = [];
        $class = null;
        foreach ($bindings as [$rejection, $name, $expected, $found]) {
            if ($expected === null) {
                continue;
            }
            if (!hash_equals($expected, $found)) {
                $class ??= $rejection;
                $reasons[] = "the $name is another: expected $expected, the receipt says $found";
            }
            $established[] = $name;
        }
        if ($class !== null) {
            throw new $class(array_values(array_unique($reasons)));
        }
        foreach (['stdout', 'stderr'] as $name) {
            $size = $expectation->{"{$name}Bytes"};
            if ($size !== null && $receipt->observed->{"{$name}Bytes"} !== (string) $size) {
                throw new WrongOutput(["the size of $name is another: expected $size bytes"]);
            }
        }

        return array_values(array_unique($established));
    }
}
