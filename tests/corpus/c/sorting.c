/* qsort and bsearch with several comparison functions, called through pointers. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct item {
    uint32_t key;
    double weight;
    char name[12];
};

static int by_key(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static int by_weight(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    return (x->weight > y->weight) - (x->weight < y->weight);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct item *)a)->name, ((const struct item *)b)->name);
}

static int backwards(const void *a, const void *b) { return -by_key(a, b); }

int main(void)
{
    enum { COUNT = 3000 };
    static struct item items[COUNT];
    int (*const orders[])(const void *, const void *) = {by_key, by_weight, by_name, backwards};
    uint32_t state = 1;
    for (int i = 0; i < COUNT; i++) {
        state = state * 1664525 + 1013904223;
        items[i].key = state >> 8;
        items[i].weight = (double)(state ^ 0x5555) / 7.0 - 1e8;
        snprintf(items[i].name, sizeof items[i].name, "n%07u", (state >> 5) % 10000000);
    }
    for (size_t order = 0; order < sizeof orders / sizeof *orders; order++) {
        qsort(items, COUNT, sizeof *items, orders[order]);
        uint64_t sum = 0;
        for (int i = 0; i < COUNT; i++)
            sum = sum * 1099511628211u + items[i].key;
        printf("%s %u %.17g %016llx\n", items[0].name, items[COUNT / 2].key, items[COUNT - 1].weight,
               (unsigned long long)sum);
        struct item *found = bsearch(&items[COUNT / 3], items, COUNT, sizeof *items, orders[order]);
        printf("%td\n", found ? found - items : -1);
    }
    return 0;
}
