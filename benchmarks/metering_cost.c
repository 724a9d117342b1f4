/* Short programs for metering_cost.py, by number: an interpreter's loop, calls, calls through a table, a hash, a sort. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { PUSH, ADD, MUL, DUP, JNZ, DEC, SWAP, LOAD, STORE, HALT };

static int64_t memory[64];

__attribute__((noinline)) static int64_t interpret(const int32_t *code)
{
    int64_t stack[64], swapped;
    int height = 0;
    const int32_t *at = code;
    for (;;) {
        switch (*at++) {
        case PUSH: stack[height++] = *at++; break;
        case ADD: height--; stack[height - 1] += stack[height]; break;
        case MUL: height--; stack[height - 1] *= stack[height]; break;
        case DUP: stack[height] = stack[height - 1]; height++; break;
        case JNZ: at = stack[--height] ? code + *at : at + 1; break;
        case DEC: stack[height - 1]--; break;
        case SWAP: swapped = stack[height - 1]; stack[height - 1] = stack[height - 2]; stack[height - 2] = swapped; break;
        case LOAD: stack[height++] = memory[*at++]; break;
        case STORE: memory[*at++] = stack[--height]; break;
        case HALT: return memory[0];
        }
    }
}

struct object { int64_t value; };
static struct object pool[1024];
static int made;

__attribute__((noinline)) static struct object *make(int64_t value)
{
    struct object *object = &pool[made++ & 1023];
    object->value = value;
    return object;
}

static struct object *add(struct object *a, struct object *b) { return make(a->value + b->value); }
static struct object *multiply(struct object *a, struct object *b) { return make(a->value * b->value); }
static struct object *differ(struct object *a, struct object *b) { return make(a->value ^ b->value); }
static struct object *(*const operations[])(struct object *, struct object *) = {add, multiply, differ};

__attribute__((noinline)) static int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static uint32_t hash(const uint8_t *data, int count)
{
    uint32_t state = 1;
    for (int i = 0; i < count; i++) {
        state = (state ^ data[i]) * 16777619;
        if (state & 1) state ^= data[i] >> 1;
    }
    return state;
}

static int compare(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

int main(int count, char **arguments)
{
    static const int32_t code[] = {PUSH, 6000000, STORE, 1, LOAD, 1, LOAD, 0, ADD, STORE, 0, LOAD, 1, DEC, DUP, STORE, 1, JNZ, 4, HALT};
    static uint8_t data[65536];
    int which = count > 1 ? atoi(arguments[1]) : 0, items = 500000, *numbers = malloc(items * sizeof *numbers);
    struct object *one = make(3), *other = make(5);
    uint32_t state = 1;
    switch (which) {
    case 0: printf("%lld\n", (long long)interpret(code)); break;
    case 1: printf("%d\n", fibonacci(34)); break;
    case 2:
        for (int i = 0; i < 20000000; i++) one = operations[i % 3](one, other);
        printf("%lld\n", (long long)one->value);
        break;
    case 3:
        for (int i = 0; i < 65536; i++) data[i] = (uint8_t)(i * 7);
        for (int i = 0; i < 500; i++) state += hash(data, 65536);
        printf("%u\n", state);
        break;
    default:
        for (int i = 0; i < items; i++) { state = state * 1103515245 + 12345; numbers[i] = state >> 1; }
        qsort(numbers, items, sizeof *numbers, compare);
        printf("%d\n", numbers[items / 2]);
    }
    return 0;
}
