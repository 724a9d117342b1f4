<?php

declare(strict_types=1);

namespace Plasm\Capabilities;

use Plasm\Envelope;
use Plasm\Exception\InvalidRecord;
use Plasm\Manifest;
use Plasm\PeerId;
use Plasm\Record\Fields;

/**
 * A node's signed description of itself.
 *
 * Everything in it is the node's claim. A client uses it to choose a node; the node's answer to `submit` decides.
 */
final readonly class CapabilityRecord
{
    public const TYPE = 'application/vnd.phase.capabilities+json';
    public const FORMAT = 'phase.capabilities/v0';
    public const MAX_BYTES = 65_536;

    /** The feature of engines that run jobs with files. */
    private const FILES = 'files';

    /** How wrong another machine's clock may be. */
    private const CLOCK_SKEW_S = 300;
    private const LONGEST_LIFE_S = 86_400;

    private const WORD = '[A-Za-z0-9._+\/:@-]{1,64}';

    /**
     * @param list<string> $profiles
     * @param list<string> $gasSchedules
     * @param list<string> $wasi
     * @param list<EngineOffer> $engines
     * @param list<string> $capabilities sorted
     * @param bool $lends whether it runs strangers' jobs
     * @param list<string> $protocols
     * @param list<string> $addresses
     */
    private function __construct(
        public PeerId $peer,
        public string $agent,
        public array $profiles,
        public array $gasSchedules,
        public array $wasi,
        public array $engines,
        public string $architecture,
        public int $cpu,
        public int $memoryBytes,
        public OfferedLimits $limits,
        public array $capabilities,
        public bool $lends,
        public Load $load,
        public array $protocols,
        public array $addresses,
        public \DateTimeImmutable $issuedAt,
        public \DateTimeImmutable $expiresAt,
    ) {
    }

    /**
     * Return the record in an envelope, if it is that peer's own, signed by its key, and of now.
     *
     * @param float $now seconds since 1970, by this machine's clock, which is taken to the microsecond
     *
     * @throws InvalidRecord
     */
    public static function open(string $envelopeJson, PeerId $peer, float $now): self
    {
        $envelope = Envelope::fromJson($envelopeJson);
        if ($envelope->payloadType !== self::TYPE) {
            throw self::invalid('payload of another type than ' . self::TYPE);
        }
        if (!$envelope->isSignedBy($peer)) {
            throw self::invalid("not signed by $peer");
        }
        $record = self::fromJson($envelope->payload);
        $issued = self::microseconds($record->issuedAt);
        $expires = self::microseconds($record->expiresAt);
        $nowUs = (int) round($now * 1e6);
        if (!$record->peer->equals($peer)) {
            throw self::invalid("it is of $record->peer, not of $peer");
        }
        if ($expires <= $nowUs - self::CLOCK_SKEW_S * 1_000_000) {
            throw self::invalid('it expired at ' . $record->expiresAt->format('Y-m-d\TH:i:s\Z'));
        }
        if ($issued > $nowUs + self::CLOCK_SKEW_S * 1_000_000) {
            throw self::invalid('it was issued in the future, at ' . $record->issuedAt->format('Y-m-d\TH:i:s\Z'));
        }
        if ($expires - $issued > self::LONGEST_LIFE_S * 1_000_000) {
            throw self::invalid('it is to live for too long');
        }

        return $record;
    }

    /**
     * Return the classes under which the node lists itself (docs/network.md, "Discovery").
     *
     * @return list<string>
     */
    public function classes(): array
    {
        return [
            ...array_map(static fn (string $level): string => "wasi/$level", $this->wasi),
            ...array_map(static fn (EngineOffer $engine): string => "engine/$engine->name", $this->engines),
            "architecture/$this->architecture",
        ];
    }

    /**
     * Return the first requirement of a job that the node does not offer; null if it offers all.
     *
     * @param int $treeBytes of the pack of the job's input files
     */
    public function lacks(Manifest $manifest, int $moduleBytes, int $stdinBytes, int $treeBytes = 0): ?string
    {
        if (!$this->lends) {
            return 'it does not lend';
        }
        if (!in_array($manifest->task->profile, $this->profiles, true)) {
            return "profile {$manifest->task->profile}";
        }
        $files = $manifest->task->files;
        $runsFiles = static fn (EngineOffer $engine): bool => in_array(self::FILES, $engine->features, true);
        if ($files !== null && array_filter($this->engines, $runsFiles) === []) {
            return 'files';
        }
        $missing = array_values(array_diff($manifest->task->capabilities, $this->capabilities));
        if ($missing !== []) {
            sort($missing, SORT_STRING);

            return "capability $missing[0]";
        }
        $asked = $manifest->task->limits;
        $amounts = [
            ['gas', $asked->gas, $this->limits->gas],
            ['memory_bytes', $asked->memoryBytes + ($files?->limits->memoryBytes() ?? 0), $this->limits->memoryBytes],
            ['output_bytes', $asked->outputBytes, $this->limits->outputBytes],
            ['wall_time_s', $manifest->wallTimeS, $this->limits->wallTimeS],
            ['cpu', $manifest->cpu, $this->limits->cpu],
            ['module_bytes', $moduleBytes, $this->limits->moduleBytes],
            ['stdin_bytes', $stdinBytes, $this->limits->stdinBytes],
            ['tree_bytes', $treeBytes, $this->limits->treeBytes],
        ];
        foreach ($amounts as [$what, $wanted, $given]) {
            if ($wanted > $given) {
                return "$what $wanted, of which it gives $given";
            }
        }

        return null;
    }

    /** @throws InvalidRecord */
    private static function fromJson(string $json): self
    {
        $fields = Fields::decode($json, 'capability record', self::MAX_BYTES);
        $fields->oneOf('format', [self::FORMAT]);
        $peer = $fields->peer('peer');
        $record = [
            'agent' => $fields->matching('agent', '[^\x00-\x1f\x7f]{0,256}', 'a string of at most 256 characters'),
            'profiles' => $fields->names('profiles', self::WORD),
            'gasSchedules' => $fields->names('gas_schedules', self::WORD),
            'wasi' => $fields->names('wasi', self::WORD),
            'engines' => array_map(EngineOffer::fromFields(...), $fields->objects('engines')),
            'architecture' => $fields->matching('architecture', '[a-z0-9_]{1,64}', 'a name of at most 64 characters'),
            'cpu' => $fields->integer('cpu', 1),
            'memoryBytes' => $fields->integer('memory_bytes', 0),
            'limits' => OfferedLimits::fromFields($fields->object('limits')),
            'capabilities' => $fields->namesOf('capabilities', Manifest::CAPABILITIES),
            'lends' => $fields->boolean('lends'),
            'load' => Load::fromFields($fields->object('load')),
            'protocols' => $fields->names('protocols', '[A-Za-z0-9._+\/:@-]{1,128}'),
            'addresses' => $fields->names('addresses', '\/[!-~]{1,511}'),
            'issuedAt' => $fields->time('issued_at'),
            'expiresAt' => $fields->time('expires_at'),
        ];
        $fields->finish();
        assert($peer !== null);

        return new self($peer, ...$record);
    }

    private static function microseconds(\DateTimeImmutable $moment): int
    {
        return (int) $moment->format('U') * 1_000_000 + (int) $moment->format('u');
    }

    private static function invalid(string $problem): InvalidRecord
    {
        return new InvalidRecord('capability record', [['', $problem]]);
    }
}
