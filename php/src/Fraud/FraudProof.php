<?php

declare(strict_types=1);

namespace Plasm\Fraud;

use Plasm\Digest;
use Plasm\Envelope;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\ProofRefused;
use Plasm\PeerId;
use Plasm\Receipt;
use Plasm\Record\Base64;
use Plasm\Record\Fields;
use Plasm\Record\Json;
use Plasm\Submission;

/**
 * Signed receipts of one task, of which at least one is false, and the task's inputs (docs/fraud-proofs.md).
 *
 * It names no liar. `compare()` checks signatures and compares receipts. Only a run of the task shows which node
 * lied: use `plasm verify --fraud`, since this client has no engine.
 */
final readonly class FraudProof
{
    public const FORMAT = 'plasm.fraud-proof/v0';
    public const MAX_BYTES = 16 << 20;
    public const MAX_INPUT_BYTES = 10 << 20;
    public const MAX_RECEIPTS = 64;
    public const INPUTS = ['module', 'args', 'env', 'stdin'];

    /**
     * @param non-empty-list<Envelope> $envelopes
     * @param array<string, string> $inputs the available inputs, by their names in `INPUTS`
     */
    private function __construct(public array $envelopes, public array $inputs)
    {
    }

    /** @throws ProofRefused if it is no fraud proof; `compare()` tells whether it proves anything */
    public static function fromJson(string $json): self
    {
        try {
            $fields = Fields::decode($json, 'fraud proof', self::MAX_BYTES);
            $fields->oneOf('format', [self::FORMAT]);
            $envelopes = array_map(Envelope::fromFields(...), $fields->objects('receipts'));
            if ($envelopes === [] || count($envelopes) > self::MAX_RECEIPTS) {
                $fields->problem('receipts', 'expected a list of 1 to ' . self::MAX_RECEIPTS . ' envelopes');
            }
            $inputs = [];
            if ($fields->isThere('inputs')) {
                $given = $fields->object('inputs');
                foreach (self::INPUTS as $name) {
                    if ($given->isThere($name)) {
                        $inputs[$name] = Base64::field($given, $name);
                    }
                }
            }
            $fields->finish();
        } catch (InvalidRecord $exception) {
            throw new ProofRefused('malformed-proof', $exception->getMessage(), $exception);
        }
        $envelopes = array_values(array_filter($envelopes));
        assert($envelopes !== []);

        return new self($envelopes, $inputs);
    }

    /**
     * Make a proof: each receipt once, with the signature of its node only.
     *
     * @param list<Envelope> $envelopes
     * @param array<string, string> $inputs
     *
     * @throws ProofRefused if it proves nothing
     */
    public static function of(array $envelopes, array $inputs = []): self
    {
        $kept = [];
        foreach ($envelopes as $envelope) {
            $node = self::signed($envelope)->node;
            $own = $envelope->signedOnlyBy($node);
            assert($own !== null);
            $kept[$envelope->payload] ??= $own;
        }
        ksort($kept, SORT_STRING);
        $kept = array_values($kept);
        if ($kept === [] || count($kept) > self::MAX_RECEIPTS) {
            throw new ProofRefused('malformed-proof', 'expected 1 to ' . self::MAX_RECEIPTS . ' receipts');
        }
        $proof = new self($kept, $inputs);
        $proof->compare();

        return $proof;
    }

    /**
     * Return a job's inputs for a proof, but for those that are too large for one.
     *
     * @return array<string, string>
     */
    public static function inputsOf(Submission $job): array
    {
        $sizes = [
            'module' => $job->module->size(),
            'args' => strlen($job->args),
            'env' => strlen($job->env),
            'stdin' => $job->stdin->size(),
        ];
        asort($sizes);
        $left = self::MAX_INPUT_BYTES;
        $found = [];
        foreach ($sizes as $name => $size) {
            if ($size > 0 && $size <= $left) {
                $source = $job->$name;
                $found[$name] = is_string($source) ? $source : self::whole($source->read(...), $size);
                $left -= $size;
            }
        }

        return $found;
    }

    /**
     * Check signatures and inputs, and compare the receipts.
     *
     * @throws ProofRefused if the proof proves nothing
     */
    public function compare(): Comparison
    {
        $receipts = array_map(self::signed(...), $this->envelopes);
        $asked = $receipts[0]->asked;
        foreach ($receipts as $receipt) {
            if ($receipt->asked->taskDigest !== $asked->taskDigest) {
                throw new ProofRefused('unequal-tasks', 'the receipts are not all of one task');
            }
        }
        if (!$asked->task->reproducible()) {
            throw new ProofRefused(
                'not-reproducible',
                'the job used the real time or real randomness: no other run needs to agree with it',
            );
        }
        $missing = [];
        foreach (self::INPUTS as $name) {
            if (!isset($this->inputs[$name])) {
                if ($asked->task->$name !== Digest::EMPTY) {
                    $missing[] = $name;
                }
            } elseif (Digest::of($this->inputs[$name]) !== $asked->task->$name) {
                throw new ProofRefused('wrong-input', "the $name in the proof is not the task's");
            }
        }
        $settled = array_values(array_filter(
            $receipts,
            static fn (Receipt $receipt): bool => $receipt->observed->outcome->kind->recheckable(),
        ));
        if ($settled === []) {
            throw new ProofRefused(
                'not-recheckable',
                "no other run can contradict an outcome that is only the node's claim",
            );
        }

        return new Comparison($asked, $settled, self::contradicting($settled), $missing);
    }

    public function toJson(): string
    {
        $inputs = new \stdClass();
        foreach (self::INPUTS as $name) {
            if (isset($this->inputs[$name])) {
                $inputs->$name = base64_encode($this->inputs[$name]);
            }
        }

        return Json::encode([
            'format' => self::FORMAT,
            'receipts' => array_map(static fn (Envelope $envelope): array => $envelope->toArray(), $this->envelopes),
            'inputs' => $inputs,
        ]);
    }

    /** Return the receipt in an envelope, if the node that it names signed it. */
    private static function signed(Envelope $envelope): Receipt
    {
        if ($envelope->payloadType !== Envelope::RECEIPT_TYPE) {
            throw new ProofRefused('malformed-receipt', 'an envelope is not of the type ' . Envelope::RECEIPT_TYPE);
        }
        try {
            $receipt = Receipt::fromStatement($envelope->payload);
        } catch (InvalidRecord $exception) {
            throw new ProofRefused('malformed-receipt', $exception->getMessage(), $exception);
        }
        if (!$envelope->isSignedBy($receipt->node)) {
            throw new ProofRefused('forged-signature', "$receipt->node has not signed the receipt that names it");
        }

        return $receipt;
    }

    /**
     * Return the nodes that signed two different receipts: one of the two is false without a run of the task.
     *
     * @param list<Receipt> $receipts
     *
     * @return list<PeerId>
     */
    private static function contradicting(array $receipts): array
    {
        $said = $found = [];
        foreach ($receipts as $receipt) {
            $name = (string) $receipt->node;
            $observables = Comparison::observables($receipt);
            if (($said[$name] ??= $observables) !== $observables) {
                $found[$name] = $receipt->node;
            }
        }

        return array_values($found);
    }

    /** @param \Closure(int, int): string $read */
    private static function whole(\Closure $read, int $size): string
    {
        $bytes = '';
        while (strlen($bytes) < $size && ($more = $read(strlen($bytes), $size - strlen($bytes))) !== '') {
            $bytes .= $more;
        }

        return $bytes;
    }
}
