<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\Attributes\DataProvider;
use PHPUnit\Framework\TestCase;
use Plasm\Exception\InvalidRecord;
use Plasm\Exception\Refused;
use Plasm\Exception\UntrustedSigner;
use Plasm\Libp2p\Exception\InvalidMultiaddr;
use Plasm\Libp2p\Multiaddr;
use Plasm\Node;
use Plasm\Outcome;
use Plasm\PeerId;
use Plasm\Record\Printable;

/** A node's words reach an application's log or terminal: nothing in them may take effect there. */
final class PrintableTest extends TestCase
{
    private const HOSTILE = "\u{9b}2J\u{202e}x\u{7f}\u{85}";
    private const SHOWN = '\x9b2J\u202ex\x7f\x85';

    /** @return iterable<string, array{string, string}> */
    public static function vectors(): iterable
    {
        foreach (Vectors::load('printable')['visible'] as $case) {
            yield $case['name'] => [$case['text'], $case['shown']];
        }
    }

    /** @dataProvider vectors */
    #[DataProvider('vectors')]
    public function testTextIsShownAsInPython(string $text, string $shown): void
    {
        self::assertSame($shown, Printable::visible($text));
    }

    public function testEveryControlCharacterIsWrittenOut(): void
    {
        foreach ([...range(0, 31), ...range(127, 159)] as $point) {
            $character = $point < 128 ? chr($point) : "\xc2" . chr($point);

            self::assertMatchesRegularExpression('/^\\\\(x[0-9a-f]{2}|[tnr])$/', Printable::visible($character));
        }
    }

    public function testBytesThatAreNoUtf8AreWrittenOut(): void
    {
        self::assertSame('a\xff\x9bb', Printable::visible("a\xff\x9bb"));
    }

    public function testARefusalShowsNothingThatTakesEffect(): void
    {
        $refused = new Refused('policy', self::HOSTILE, self::HOSTILE);

        self::assertSame('refused (policy): ' . self::SHOWN . ' (' . self::SHOWN . ')', $refused->getMessage());
        self::assertSame(self::HOSTILE, $refused->hint);
    }

    public function testAnOutcomeInWordsShowsNothingThatTakesEffect(): void
    {
        $outcome = Outcome::systemError(self::HOSTILE);

        self::assertSame('system error: ' . self::SHOWN, (string) $outcome);
        self::assertSame(self::HOSTILE, $outcome->detail);
    }

    public function testANodesNameForItsSoftwareShowsNothingThatTakesEffect(): void
    {
        $node = new Node(PeerId::parse('12D3KooWA4Xop1JaT3MHxwYMkCepYsv4iPVopMXwCz5iHYdBfeSB'), self::HOSTILE, 'mock:');

        self::assertSame(self::SHOWN, $node->agent);
    }

    public function testErrorsAboutAnAddressShowNoControlCharacters(): void
    {
        foreach (['/%s/x', '/dns4/%s/tcp/1', '/ip4/192.0.2.1/tcp/%s', '/ip4/192.0.2.1/tcp/1/p2p/%s'] as $form) {
            try {
                Multiaddr::parse(sprintf($form, self::HOSTILE));
                self::fail("$form was read");
            } catch (InvalidMultiaddr $exception) {
                self::assertDoesNotMatchRegularExpression('/[\p{C}]/u', $exception->getMessage());
            }
        }
    }

    public function testErrorsAboutARecordShowNoControlCharacters(): void
    {
        $invalid = new InvalidRecord('receipt', [[self::HOSTILE, self::HOSTILE]]);
        $rejected = new UntrustedSigner([self::HOSTILE]);

        self::assertStringContainsString(self::SHOWN . ': ' . self::SHOWN, $invalid->getMessage());
        self::assertStringContainsString(self::SHOWN, $rejected->getMessage());
    }
}
