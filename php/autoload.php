<?php

declare(strict_types=1);

if (PHP_VERSION_ID < 80200 || PHP_INT_SIZE < 8 || !extension_loaded('sodium')) {
    throw new RuntimeException('plasm/client needs PHP 8.2 or newer, 64 bit, with the extension sodium');
}

// Loads the classes where there is no Composer: require this one file.
spl_autoload_register(static function (string $class): void {
    if (!str_starts_with($class, 'Plasm\\') || str_starts_with($class, 'Plasm\\Tests\\')) {
        return;
    }
    $file = __DIR__ . '/src/' . strtr(substr($class, strlen('Plasm\\')), '\\', '/') . '.php';
    if (is_file($file)) {
        require $file;
    }
});
