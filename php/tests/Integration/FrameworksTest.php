<?php

declare(strict_types=1);

namespace Plasm\Tests\Integration;

use PHPUnit\Framework\TestCase;

/** The README's recipes for Laravel and Symfony, as pasted, with the frameworks' own containers and a real daemon. */
final class FrameworksTest extends TestCase
{
    private const LARAVEL = <<<'PHP'
        require 'Illuminate/Container/autoload.php';
        require 'Illuminate/Config/autoload.php';
        require 'Illuminate/Support/autoload.php';
        require 'PhpOption/autoload.php';
        require 'Dotenv/autoload.php';
        spl_autoload_register(static function (string $class): void {
            $file = str_replace(['App\Report', 'App\\', '\\'], ['src/Report', 'app/', '/'], $class) . '.php';
            is_file($file) && require $file;
        });
        $app = new Illuminate\Container\Container();
        $app['config'] = new Illuminate\Config\Repository(['plasm' => require 'config/plasm.php']);
        foreach (require 'bootstrap/providers.php' as $provider) {
            (new $provider($app))->register();
        }
        $make = static fn (string $class): object => $app->make($class);
        PHP;
    private const SYMFONY = <<<'PHP'
        require 'Symfony/Component/DependencyInjection/autoload.php';
        require 'Symfony/Component/Config/autoload.php';
        require 'Symfony/Component/Yaml/autoload.php';
        require 'src/Report.php';
        $container = new Symfony\Component\DependencyInjection\ContainerBuilder();
        $loader = new Symfony\Component\DependencyInjection\Loader\YamlFileLoader(
            $container,
            new Symfony\Component\Config\FileLocator(getcwd() . '/config'),
        );
        $loader->load('services.yaml');
        // An application gets a service that another one needs; here nothing needs them.
        foreach (['App\Report', 'Plasm\Client', 'Plasm\Timeouts'] as $name) {
            $container->getDefinition($name)->setPublic(true);
        }
        $container->getAlias('Plasm\ClientInterface')->setPublic(true);
        $container->compile();
        $make = static fn (string $class): object => $container->get($class);
        PHP;
    private const USE = <<<'PHP'
        $report = $make('App\Report');
        echo json_encode([
            'text' => $report->text(2026),
            'one' => $make('Plasm\ClientInterface') === $make('Plasm\ClientInterface'),
            'total' => (new ReflectionProperty('Plasm\Client', 'timeouts'))->getValue($make('Plasm\ClientInterface'))->totalS,
        ]);
        PHP;
    private const HELLO = __DIR__ . '/../../../examples/hello/hello.wasm';

    private static ?Plasmd $daemon = null;

    public static function tearDownAfterClass(): void
    {
        self::$daemon?->remove();
        self::$daemon = null;
    }

    public function testLaravelsContainerMakesAClassThatRunsJobs(): void
    {
        $files = ['src/Report.php', 'config/plasm.php', 'app/Providers/PlasmServiceProvider.php', 'bootstrap/providers.php'];

        self::assertRuns(self::done('Illuminate/Container/autoload.php', $files, self::LARAVEL));
    }

    public function testSymfonysContainerMakesAClassThatRunsJobs(): void
    {
        self::assertRuns(self::done(
            'Symfony/Component/DependencyInjection/autoload.php',
            ['src/Report.php', 'config/services.yaml'],
            self::SYMFONY,
        ));
    }

    /** @param array{int, string, string} $done exit status, output and errors */
    private static function assertRuns(array $done): void
    {
        [$status, $output, $errors] = $done;

        self::assertSame(0, $status, $errors);
        self::assertEquals(['text' => "6202 raey--\n", 'one' => true, 'total' => 10.0], json_decode($output, true));
    }

    /**
     * Write the recipe's files, and run a program among them.
     *
     * @param list<string> $files
     *
     * @return array{int, string, string}
     */
    private static function done(string $library, array $files, string $make): array
    {
        if (stream_resolve_include_path($library) === false) {
            self::markTestSkipped("$library is not installed here");
        }
        self::$daemon ??= Plasmd::tryStart() ?? self::markTestSkipped('plasmd is not installed here');
        $project = self::$daemon->directory . '/project-' . bin2hex(random_bytes(4));
        foreach ($files as $file) {
            @mkdir(dirname("$project/$file"), 0700, true);
            file_put_contents("$project/$file", self::block($file));
        }
        copy(self::HELLO, "$project/report.wasm");
        // The old containers of Debian 12 use what later versions of PHP deprecate.
        file_put_contents("$project/main.php", "<?php\nerror_reporting(E_ALL & ~E_DEPRECATED);\n" . PhpProcess::loading(
            'chdir(__DIR__);' . "\n$make\n" . self::USE,
        ));

        return PhpProcess::start(["$project/main.php"], $project, self::$daemon->environment())->wait();
    }

    /** Return the README's block whose first line names a file, as it is pasted. */
    private static function block(string $file): string
    {
        $readme = (string) file_get_contents(dirname(__DIR__, 2) . '/README.md');
        $found = preg_match('{^```(php|yaml)\n(?://|#) ' . preg_quote($file) . '\n(.*?)^```$}ms', $readme, $block);
        self::assertSame(1, $found, $file);

        return $block[1] === 'php' ? "<?php\n\n$block[2]" : $block[2];
    }
}
