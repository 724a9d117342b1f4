<?php

/*
 * A page that makes a thumbnail of each picture, several at once, and shows each as it arrives.
 *
 *     plasmd --detach
 *     php -S 127.0.0.1:8000 -t examples/thumbnails
 *
 * Then open http://127.0.0.1:8000/ in a browser. Without pictures of your own it makes fifty.
 */

declare(strict_types=1);

require __DIR__ . '/../../php/autoload.php';

/** Return a picture of 400 x 300 pixels as a Windows bitmap: two colours that run into one another. */
function sample(int $number): string
{
    $rows = '';
    for ($y = 0; $y < 300; ++$y) {
        $rows .= str_repeat(pack('C3', $number * 5 % 256, intdiv($y * 255, 300), 255 - $number * 5 % 256), 400);
    }

    return 'BM' . pack('VVVVVVvvVVVVVV', 54 + strlen($rows), 0, 54, 40, 400, 300, 1, 24, 0, strlen($rows), 2835, 2835, 0, 0) . $rows;
}

/** @return iterable<string, mixed> what `Client::map()` takes: the name of each picture, and its bytes */
function pictures(): iterable
{
    $uploaded = $_FILES['pictures']['tmp_name'] ?? [];
    foreach ($uploaded as $number => $path) {
        if ($_FILES['pictures']['error'][$number] === UPLOAD_ERR_OK) {
            yield $_FILES['pictures']['name'][$number] => new SplFileInfo($path);
        }
    }
    for ($number = 1; $_SERVER['REQUEST_METHOD'] !== 'POST' && $number <= 50; ++$number) {
        yield "sample $number" => sample($number);
    }
}

/** @return iterable<string, string> the pictures that PHP did not accept: the name of each, and the reason */
function refused(): iterable
{
    foreach ($_FILES['pictures']['error'] ?? [] as $number => $error) {
        if ($error !== UPLOAD_ERR_OK) {
            yield $_FILES['pictures']['name'][$number] => match ($error) {
                UPLOAD_ERR_INI_SIZE => 'larger than upload_max_filesize in php.ini, ' . ini_get('upload_max_filesize'),
                UPLOAD_ERR_NO_FILE => 'no picture was chosen',
                default => "it did not arrive whole (PHP's upload error $error)",
            };
        }
    }
}

/** Return a figure in place of a picture that has none. */
function failed(string $name, string $why): string
{
    return '<figure class="failed"><figcaption>' . htmlspecialchars("$name: $why") . "</figcaption></figure>\n";
}

$posted = $_SERVER['REQUEST_METHOD'] === 'POST';
$count = $posted ? count($_FILES['pictures']['tmp_name'] ?? []) : 50;
header('Content-Type: text/html; charset=utf-8');
header('X-Accel-Buffering: no'); // nginx passes each picture on as it comes
?>
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thumbnails</title>
<style>
    body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
    progress { width: 100%; }
    main { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); }
    figure { margin: 0; }
    figcaption { font-size: .8rem; overflow-wrap: anywhere; }
    .failed { color: #a00; }
</style>
<h1>Thumbnails</h1>
<form method="post" enctype="multipart/form-data">
    <label>Windows bitmaps: <input type="file" name="pictures[]" accept="image/bmp" multiple required></label>
    <button>Make thumbnails</button>
    <p>PHP takes <?= ini_get('max_file_uploads') ?> pictures of at most <?= ini_get('upload_max_filesize') ?>,
    and <?= ini_get('post_max_size') ?> in all: see <code>php.ini</code>.</p>
</form>
<progress id="progress" max="<?= $count ?>" value="0" aria-label="pictures done"></progress>
<main>
<?php
if ($posted && $count === 0) {
    echo '<p class="failed">No picture arrived: all together were larger than post_max_size in php.ini, ',
    ini_get('post_max_size'), ", or none was chosen.</p>\n";
}
$plasm = new Plasm\Client();
$done = $verified = 0;
foreach (refused() as $name => $why) {
    ++$done;
    echo failed((string) $name, $why);
}
try {
    $module = __DIR__ . '/thumbnail.wasm';
    foreach ($plasm->map($module, pictures(), ['args' => ['128'], 'wall_time' => 10], errors: true) as $name => $result) {
        ++$done;
        $verified += $result instanceof Plasm\JobResult ? 1 : 0;
        if ($result instanceof Plasm\JobResult && $result->ok()) {
            $caption = htmlspecialchars((string) $name);
            $picture = base64_encode($result->stdout());
            echo "<figure><img alt=\"$caption\" src=\"data:image/bmp;base64,$picture\"><figcaption>$caption</figcaption></figure>\n";
        } else {
            $isJob = $result instanceof Plasm\JobResult;
            echo failed((string) $name, $isJob ? trim($result->stderr()) ?: "the job $result->outcome" : $result->getMessage());
        }
        echo "<script>document.getElementById('progress').value = $done</script>\n";
        while (ob_get_level() > 0) {
            ob_end_flush();
        }
        flush();
    }
} catch (Plasm\Exception\ExceptionInterface $exception) {
    echo '<p class="failed">', htmlspecialchars($exception->getMessage()), "</p>\n";
}
?>
</main>
<p><?= $done ?> pictures, <?= $verified ?> of them with a receipt that this page has verified.</p>
</html>
