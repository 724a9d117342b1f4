<?php

declare(strict_types=1);

namespace Plasm\Tests;

use PHPUnit\Framework\TestCase;
use Plasm\Evidence;
use Plasm\StateDirectory;
use Plasm\Testing\ReceiptSigner;

/** What this user's clients keep is kept where no other user can plant a link or read it. */
final class StateDirectoryTest extends TestCase
{
    private const NOBODY = 65534;

    private string $state;
    private string|false $before;

    protected function setUp(): void
    {
        $this->state = sys_get_temp_dir() . '/plasm-' . bin2hex(random_bytes(6));
        mkdir("$this->state/plasm/evidence", 0700, true);
        $this->before = getenv('XDG_STATE_HOME');
        putenv("XDG_STATE_HOME=$this->state");
    }

    protected function tearDown(): void
    {
        putenv($this->before === false ? 'XDG_STATE_HOME' : "XDG_STATE_HOME=$this->before");
        array_map(unlink(...), glob("$this->state/plasm/*/*") ?: []);
        foreach (["$this->state/plasm/evidence", "$this->state/plasm", "$this->state/other", $this->state] as $directory) {
            is_link($directory) ? unlink($directory) : @rmdir($directory);
        }
    }

    public function testADirectoryOfOnesOwnIsTaken(): void
    {
        self::assertSame("$this->state/plasm/evidence", StateDirectory::of('evidence'));
    }

    public function testADirectoryOfAnotherUserIsNotUsed(): void
    {
        if (!@chown("$this->state/plasm/evidence", self::NOBODY)) {
            self::markTestSkipped('only root can give a directory away');
        }
        clearstatcache();

        self::assertNull(StateDirectory::of('evidence'));
        self::assertNull($this->kept());
    }

    public function testADirectoryThatOthersMayWriteToIsNotUsed(): void
    {
        chmod("$this->state/plasm/evidence", 0777);
        clearstatcache();

        self::assertNull(StateDirectory::of('evidence'));
        self::assertNull($this->kept());
    }

    public function testALinkInPlaceOfADirectoryIsNotFollowed(): void
    {
        rmdir("$this->state/plasm/evidence");
        mkdir("$this->state/other");
        symlink("$this->state/other", "$this->state/plasm/evidence");
        clearstatcache();

        self::assertNull(StateDirectory::of('evidence'));
        self::assertNull($this->kept());
    }

    private function kept(): ?string
    {
        return Evidence::keep(ReceiptSigner::withFreshKey()->peer, str_repeat('ab', 32), 'reason', '{}');
    }
}
