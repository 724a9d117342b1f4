/* printf of every kind: integers, floats to many digits, their edges, strings, widths, and scanning them again. */
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double doubles[] = {
    0.0, -0.0, 1.0, -1.5, 0.1, 1e21, 1e22, 1e23, 123456789.125, 5e-324, 2.2250738585072014e-308,
    1.7976931348623157e308, 3.141592653589793, 2.5, 3.5, 0.5, 1e-5, 9.9999999999999995e-5, 4503599627370497.5,
};

static void floats(void)
{
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        double x = doubles[i];
        float f = (float)x;
        printf("%g %.17g %e %.0f %.3f %a %10.4g|%-12.2e|%+.1f %g\n", x, x, x, x, x, x, x, x, x, f);
        char text[64];
        snprintf(text, sizeof text, "%.17g", x);
        double back = strtod(text, NULL);
        printf("%s %s\n", text, back == x ? "same" : "different");
    }
    volatile double zero = 0.0;
    printf("%f %f %f %F\n", 1 / zero, -1 / zero, fabs(zero / zero), fabs(zero / zero));
    printf("%g %g %g\n", sqrt(2.0), floor(-2.5), fmod(10.0, 3.7));
    printf("%.15g %.15g %.15g %.15g\n", sin(1e6), pow(1.1, 100.0), exp(-700.5), log(1e-300));
    printf("%d %ld %lld\n", (int)2147483647.9, lround(-2.5), llrint(2.5));
}

static void integers(void)
{
    printf("%d %u %x %X %o %c %5d|%-5d|%05d|%+d\n", -1, 3000000000u, 255, 48879, 8, 'c', 42, 42, 42, 42);
    printf("%lld %llu %llx\n", INT64_MIN, UINT64_MAX, INT64_MAX);
    printf("%hhd %hd %zu %td %jd\n", 300, 70000, sizeof(void *), (ptrdiff_t)-7, (intmax_t)-8);
    printf("%s|%10s|%-10s|%.2s|%%|%p\n", "text", "right", "left", "cut", (void *)0x1234);
    printf("%*d|%-*d|%.*f\n", 6, 12, 6, 12, 3, 2.0 / 3.0);
}

static void scanned(void)
{
    int a;
    unsigned b;
    double c;
    char word[16];
    int n = sscanf("  -17 0xff 2.5e-3 word rest", "%d %x %lf %15s", &a, &b, &c, word);
    printf("%d: %d %u %g %s\n", n, a, b, c, word);
    printf("%ld %lu %lld\n", strtol("-0777zz", NULL, 8), strtoul("ffffffff", NULL, 16), strtoll("1e3", NULL, 0));
    printf("%.17g %.17g %.17g\n", strtod("0x1.8p-3", NULL), strtod("1e400", NULL), strtod("-4.9e-325", NULL));
}

int main(void)
{
    integers();
    floats();
    scanned();
    fprintf(stderr, "done %s\n", "formatting");
    return 0;
}
