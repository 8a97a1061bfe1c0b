/* The structure that shapes.c only declares, and a static variable of a name that shapes.c uses too. */
#include <stddef.h>
#include "shapes.h"

struct hidden {
    char secret;
    long depth;
};

static short same_name = 22;
long shared_counter = 100;
static hidden_t only;

__attribute__((noinline)) hidden_t *make_hidden(int size, void *log)
{
    if (log == NULL || size > 4096) {
        return NULL;
    }
    __asm__ volatile("" ::: "memory");
    only.secret = (char) size;
    only.depth += size + same_name;
    same_name++;
    return &only;
}
