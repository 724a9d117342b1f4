<?php

declare(strict_types=1);

namespace Plasm\Protocol\Message;

use Plasm\Protocol\Channel;
use Plasm\Protocol\NodeMessage;
use Plasm\Record\Fields;

/** A node has reserved a place. */
final readonly class Offered extends NodeMessage
{
    /**
     * @param string $challenge 32 raw bytes
     * @param array<int, int> $received the bytes kept of an earlier upload, by channel
     * @param array<int, int> $credit the first credits, by channel
     */
    protected function __construct(
        public string $jobId,
        public int $expiresS,
        public string $challenge,
        public array $received,
        public array $credit,
    ) {
    }

    protected static function fromFields(Fields $fields): self
    {
        return new self(
            $fields->digest('job_id'),
            $fields->integer('expires_s', 1),
            sodium_hex2bin($fields->hex('challenge', 32)),
            self::counts($fields->object('received')),
            self::counts($fields->object('credit')),
        );
    }

    /** @return array<int, int> */
    private static function counts(Fields $fields): array
    {
        $counts = [];
        foreach (Channel::UPLOADS as $channel) {
            $counts[$channel->value] = $fields->integer($channel->label(), 0);
        }
        if ($fields->has(Channel::Files->label())) {
            $counts[Channel::Files->value] = $fields->integer(Channel::Files->label(), 0);
        }

        return $counts;
    }
}
