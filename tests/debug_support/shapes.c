/*
 * Structures of every kind that poolscope reads, in a program that states their layout as the compiler sees it:
 *   size TYPE BYTES
 *   field TYPE PATH OFFSET BYTES
 *   bytes TYPE HEX            (a value of the structure, as it lies in memory)
 *   value TYPE PATH NUMBER    (what a field of that value holds)
 * hidden.c is the other half of the program.
 */
#include <stddef.h>
#include <stdio.h>
#include "shapes.h"

typedef unsigned char u_char;
typedef struct point_s point_t;
typedef point_t location_t;

struct point_s {
    int x;
    const volatile int y;
};

typedef struct {
    u_char *last;
    u_char *end;
    location_t where;
} data_t;

struct pool_s {
    data_t d;
    size_t max;
    struct pool_s *current;
    hidden_t *hidden;
    void *opaque;
    void (*handler)(void *data, int code);
    const char *name;
    short grid[3][4];
    char tail[];
};
typedef struct pool_s pool_t;

typedef struct {
    int kind;
    union {
        long number;
        struct {
            short low;
            short high;
        };
        struct {
            char letter;
        } named;
    };
    int last;
} variant_t;

typedef struct {
    unsigned a : 3;
    unsigned b : 13;
    signed c : 5;
    unsigned : 0;
    unsigned char d : 1;
    unsigned long e : 40;
    unsigned long f : 24;
    int plain;
} flags_t;

typedef struct {
    char first;
    unsigned a : 30;
    unsigned long b : 63;
    signed c : 4;
} __attribute__((packed)) packed_flags_t;

enum state { STATE_IDLE, STATE_BUSY = 7, STATE_LOST = -3 };
enum large { LARGE_VALUE = 0xfedcba9876543210UL };

typedef struct {
    enum state state;
    unsigned char small;
    signed char negative;
    unsigned short half;
    float fraction;
    _Bool yes;
} scalars_t;

static int same_name = 11;
static __thread long per_thread = 5;
int gp = 3;
pool_t first_pool;
enum large large_value = LARGE_VALUE;
extern long shared_counter;

#define SIZE(type) printf("size %s %zu\n", #type, sizeof(type))
#define FIELD(type, path) \
    printf("field %s %s %zu %zu\n", #type, #path, offsetof(type, path), sizeof(((type *) 0)->path))
#define VALUE(type, variable, path) printf("value %s %s %lld\n", #type, #path, (long long) variable.path)

static void print_bytes(const char *type, const void *start, size_t size)
{
    const unsigned char *bytes = start;
    printf("bytes %s ", type);
    for (size_t i = 0; i < size; i++) {
        printf("%02x", bytes[i]);
    }
    printf("\n");
}

static void print_layouts(void)
{
    SIZE(point_t);
    FIELD(point_t, x);
    FIELD(point_t, y);
    SIZE(location_t);
    SIZE(pool_t);
    FIELD(pool_t, d);
    FIELD(pool_t, d.last);
    FIELD(pool_t, d.end);
    FIELD(pool_t, d.where.y);
    FIELD(pool_t, max);
    FIELD(pool_t, current);
    FIELD(pool_t, hidden);
    FIELD(pool_t, handler);
    FIELD(pool_t, grid);
    SIZE(variant_t);
    FIELD(variant_t, number);
    FIELD(variant_t, low);
    FIELD(variant_t, high);
    FIELD(variant_t, named.letter);
    FIELD(variant_t, last);
    SIZE(flags_t);
    FIELD(flags_t, plain);
    SIZE(packed_flags_t);
    SIZE(scalars_t);
    FIELD(scalars_t, state);
    FIELD(scalars_t, half);
}

static void print_values(void)
{
    flags_t flags = { .a = 5, .b = 4097, .c = -9, .d = 1, .e = 0xfedcba9876, .f = 0x123456, .plain = -1 };
    print_bytes("flags_t", &flags, sizeof(flags));
    VALUE(flags_t, flags, a);
    VALUE(flags_t, flags, b);
    VALUE(flags_t, flags, c);
    VALUE(flags_t, flags, d);
    VALUE(flags_t, flags, e);
    VALUE(flags_t, flags, f);
    VALUE(flags_t, flags, plain);

    packed_flags_t packed = { .first = 1, .a = 0x2abcdef1, .b = 0x7edcba9876543210, .c = -3 };
    print_bytes("packed_flags_t", &packed, sizeof(packed));
    VALUE(packed_flags_t, packed, first);
    VALUE(packed_flags_t, packed, a);
    VALUE(packed_flags_t, packed, b);
    VALUE(packed_flags_t, packed, c);

    scalars_t scalars = { .state = STATE_LOST, .small = 200, .negative = -100, .half = 65535, .yes = 1 };
    print_bytes("scalars_t", &scalars, sizeof(scalars));
    VALUE(scalars_t, scalars, state);
    VALUE(scalars_t, scalars, small);
    VALUE(scalars_t, scalars, negative);
    VALUE(scalars_t, scalars, half);
    VALUE(scalars_t, scalars, yes);
}

int main(int argc, char **argv)
{
    (void) argv;
    print_layouts();
    print_values();
    first_pool.hidden = make_hidden(512, &same_name);
    first_pool.hidden = make_hidden(argc, first_pool.hidden); /* call with an unknown size */
    per_thread += same_name + gp;
    shared_counter += per_thread;
    printf("total %ld\n", shared_counter);
    return first_pool.hidden == NULL;
}
