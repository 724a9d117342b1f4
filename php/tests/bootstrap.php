<?php

declare(strict_types=1);

error_reporting(E_ALL);

require __DIR__ . '/../autoload.php';

spl_autoload_register(static function (string $class): void {
    $file = __DIR__ . '/' . strtr(substr($class, strlen('Plasm\\Tests\\')), '\\', '/') . '.php';
    if (str_starts_with($class, 'Plasm\\Tests\\') && is_file($file)) {
        require $file;
    }
});
