/*
 * Reverse the arguments, or else standard input, by Unicode code points.
 *
 * No stdio: read, write and realloc are all it takes, and the module stays small.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char GREETING[] = "Hello, World\n";

typedef struct {
    unsigned char *bytes;
    size_t size;
    size_t capacity;
} Buffer;

static bool write_all(int fd, const void *bytes, size_t size)
{
    const unsigned char *next = bytes;
    while (size > 0) {
        ssize_t written = write(fd, next, size);
        if (written <= 0)
            return false;
        next += written;
        size -= (size_t)written;
    }
    return true;
}

static _Noreturn void fail(const char *message)
{
    write_all(STDERR_FILENO, message, strlen(message));
    exit(1);
}

/* Make room for at least `more` bytes behind those in use. */
static void reserve(Buffer *buffer, size_t more)
{
    if (more <= buffer->capacity - buffer->size)
        return;
    if (more > SIZE_MAX - buffer->size)
        fail("hello: out of memory\n");
    size_t capacity = buffer->size + more;
    /* Doubling keeps the copying linear in the size of the input. */
    if (buffer->capacity <= SIZE_MAX / 2 && capacity < buffer->capacity * 2)
        capacity = buffer->capacity * 2;
    unsigned char *bytes = realloc(buffer->bytes, capacity);
    if (bytes == NULL)
        fail("hello: out of memory\n");
    buffer->bytes = bytes;
    buffer->capacity = capacity;
}

static void append(Buffer *buffer, const void *bytes, size_t size)
{
    reserve(buffer, size);
    memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

static void append_arguments(Buffer *buffer, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (i > 1)
            append(buffer, " ", 1);
        append(buffer, argv[i], strlen(argv[i]));
    }
    append(buffer, "\n", 1);
}

static void append_stdin(Buffer *buffer)
{
    for (;;) {
        reserve(buffer, 4096);
        ssize_t count = read(STDIN_FILENO, buffer->bytes + buffer->size, buffer->capacity - buffer->size);
        if (count < 0)
            fail("hello: cannot read standard input\n");
        if (count == 0)
            return;
        buffer->size += (size_t)count;
    }
}

/*
 * The size of the code point that begins at `bytes`, or 1 where none does.
 *
 * Unicode Standard, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
static size_t unit_size(const unsigned char *bytes, size_t left)
{
    unsigned char lead = bytes[0];
    if (lead < 0xC2 || lead > 0xF4)
        return 1;
    size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (size > left || bytes[1] < low || bytes[1] > high)
        return 1;
    for (size_t i = 2; i < size; i++)
        if (bytes[i] < 0x80 || bytes[i] > 0xBF)
            return 1;
    return size;
}

static void reverse_bytes(unsigned char *bytes, size_t size)
{
    for (size_t i = 0; i < size / 2; i++) {
        unsigned char byte = bytes[i];
        bytes[i] = bytes[size - 1 - i];
        bytes[size - 1 - i] = byte;
    }
}

/* Reverse within each code point, then the whole: in place, and the code points come out intact. */
static void reverse_code_points(unsigned char *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        size_t unit = unit_size(bytes + at, size - at);
        reverse_bytes(bytes + at, unit);
        at += unit;
    }
    reverse_bytes(bytes, size);
}

int main(int argc, char **argv)
{
    Buffer text = {NULL, 0, 0};
    if (argc > 1)
        append_arguments(&text, argc, argv);
    else
        append_stdin(&text);
    if (text.size == 0)
        append(&text, GREETING, sizeof GREETING - 1);

    bool ends_line = text.bytes[text.size - 1] == '\n';
    reverse_code_points(text.bytes, text.size - ends_line);
    if (!write_all(STDOUT_FILENO, text.bytes, text.size))
        fail("hello: cannot write standard output\n");
    return 0;
}
