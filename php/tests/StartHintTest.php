<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Transport\StartHint;

/** What users are told to type where no daemon runs must work on their machine. */
final class StartHintTest extends TestCase
{
    private const PLACES = ['/run/user/1000/plasm', '/run/plasm'];
    private const BY_HAND = 'start one with: plasmd --detach';

    private string $root;

    protected function setUp(): void
    {
        $this->root = sys_get_temp_dir() . '/plasm-hint-' . bin2hex(random_bytes(8)) . '/';
        mkdir($this->root . 'usr/lib/systemd/system', 0700, true);
    }

    protected function tearDown(): void
    {
        @unlink($this->root . 'usr/lib/systemd/system/plasmd.service');
        foreach (['run/systemd/system', 'run/systemd', 'run', 'usr/lib/systemd/system', 'usr/lib/systemd', 'usr/lib', 'usr', ''] as $made) {
            @rmdir($this->root . $made);
        }
    }

    public function testAMachineWithThePackageStartsItsUnit(): void
    {
        mkdir($this->root . 'run/systemd/system', 0700, true);
        self::assertSame(self::BY_HAND, StartHint::of(self::PLACES, $this->root));

        touch($this->root . 'usr/lib/systemd/system/plasmd.service');

        self::assertSame('start it with: systemctl start plasmd', StartHint::of(self::PLACES, $this->root, 0));
        self::assertSame('start it with: sudo systemctl start plasmd', StartHint::of(self::PLACES, $this->root, 1000));
        self::assertSame(self::BY_HAND, StartHint::of(['/home/me/plasmd.sock'], $this->root));
    }

    public function testAContainerWithThePackageButWithoutSystemdStartsItByHand(): void
    {
        touch($this->root . 'usr/lib/systemd/system/plasmd.service');

        self::assertSame(self::BY_HAND, StartHint::of(self::PLACES, $this->root));
    }
}
