/*
 * thumbnail SIZE: read a picture from standard input and write it so small that neither side has more than SIZE pixels.
 *
 * Pictures are Windows bitmaps of 24 or 32 bits a pixel without compression: every browser shows them, and reading them
 * takes no library. Each pixel of the thumbnail is the mean of the pixels that it stands for, in whole numbers, so that
 * every machine computes the same bytes.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 54, MOST_BYTES = 64 << 20, MOST_PIXELS = 1 << 14 };

static _Noreturn void fail(const char *why) {
    fprintf(stderr, "thumbnail: %s\n", why);
    exit(1);
}

static uint32_t number(const uint8_t *at) {
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put(uint8_t *at, uint32_t value) {
    for (int byte = 0; byte < 4; byte++)
        at[byte] = (uint8_t)(value >> 8 * byte);
}

static uint8_t *read_all(size_t *length) {
    size_t room = 1 << 16, used = 0, got;
    uint8_t *data = malloc(room);
    while (data && (got = fread(data + used, 1, room - used, stdin)) > 0) {
        used += got;
        if (used > MOST_BYTES)
            fail("the picture has more than 64 MiB");
        if (used == room)
            data = realloc(data, room *= 2);
    }
    if (!data)
        fail("there is not enough memory: raise --limit memory");
    *length = used;
    return data;
}

int main(int count, char **arguments) {
    long size = count == 2 ? strtol(arguments[1], NULL, 10) : 0;
    if (size < 1 || size > 4096)
        fail("expected one argument: the most pixels of a side, 1 to 4096");

    size_t length;
    const uint8_t *picture = read_all(&length);
    if (length < HEADER || picture[0] != 'B' || picture[1] != 'M' || number(picture + 14) < 40)
        fail("standard input is no Windows bitmap");
    uint32_t start = number(picture + 10), width = number(picture + 18), height = number(picture + 22);
    uint32_t depth = number(picture + 28) & 0xffff, bytes = depth / 8;
    int is_downward = height >> 31 == 1; /* a negative height: the first row is the top one */
    if (is_downward)
        height = 0 - height;
    if ((depth != 24 && depth != 32) || (number(picture + 30) != 0 && number(picture + 30) != 3))
        fail("expected 24 or 32 bits a pixel, without compression");
    if (!width || !height || width > MOST_PIXELS || height > MOST_PIXELS)
        fail("a side has no pixels, or more than 16,384");
    uint64_t row = ((uint64_t)width * bytes + 3) / 4 * 4;
    if (start > length || row * height > length - start)
        fail("the picture is not complete");

    uint32_t longer = width > height ? width : height, most = (uint32_t)size < longer ? (uint32_t)size : longer;
    uint32_t columns = (uint32_t)((uint64_t)width * most / longer), rows = (uint32_t)((uint64_t)height * most / longer);
    columns = columns ? columns : 1, rows = rows ? rows : 1;
    uint32_t out_row = (columns * 3 + 3) / 4 * 4, total = HEADER + out_row * rows;
    uint8_t *out = calloc(1, total);
    if (!out)
        fail("there is not enough memory: raise --limit memory");
    memcpy(out, "BM", 2);
    put(out + 2, total), put(out + 10, HEADER), put(out + 14, 40), put(out + 18, columns), put(out + 22, rows);
    out[26] = 1, out[28] = 24;
    put(out + 34, out_row * rows);

    for (uint32_t y = 0; y < rows; y++) {
        uint32_t top = (uint32_t)((uint64_t)y * height / rows), bottom = (uint32_t)((uint64_t)(y + 1) * height / rows);
        for (uint32_t x = 0; x < columns; x++) {
            uint32_t left = (uint32_t)((uint64_t)x * width / columns);
            uint32_t right = (uint32_t)((uint64_t)(x + 1) * width / columns);
            uint64_t sums[3] = {0}, pixels = (uint64_t)(bottom - top) * (right - left);
            for (uint32_t from = top; from < bottom; from++) {
                const uint8_t *at = picture + start + row * from + (uint64_t)left * bytes;
                for (uint32_t pixel = left; pixel < right; pixel++, at += bytes)
                    for (int colour = 0; colour < 3; colour++)
                        sums[colour] += at[colour];
            }
            uint8_t *to = out + HEADER + (uint64_t)out_row * (is_downward ? rows - 1 - y : y) + x * 3;
            for (int colour = 0; colour < 3; colour++)
                to[colour] = (uint8_t)(sums[colour] / pixels);
        }
    }
    if (fwrite(out, 1, total, stdout) != total || fflush(stdout))
        fail("cannot write the thumbnail");
    return 0;
}
