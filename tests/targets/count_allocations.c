/* Preloaded into a process: counts its requests for 4 KiB of memory or more, from any thread, between start and stop. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define LARGE 4096

static atomic_int counting, count;

void allocations_start(void) { count = 0; counting = 1; }
int allocations_stop(void) { counting = 0; return count; }

static void note(const char *what, size_t size) {
    if (size >= LARGE && counting) {
        count++;
        if (getenv("SHOW_ALLOCATIONS")) fprintf(stderr, "%s %zu\n", what, size);
    }
}

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

void *malloc(size_t size) { note("malloc", size); return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { note("calloc", n * size); return __libc_calloc(n, size); }
void *realloc(void *old, size_t size) { note("realloc", size); return __libc_realloc(old, size); }
void *memalign(size_t at, size_t size) { note("memalign", size); return __libc_memalign(at, size); }
void *aligned_alloc(size_t at, size_t size) { note("aligned_alloc", size); return __libc_memalign(at, size); }

int posix_memalign(void **out, size_t at, size_t size) {
    note("posix_memalign", size);
    *out = __libc_memalign(at, size);
    return *out ? 0 : 12;
}

void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (!next) next = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
    note("mmap", size);
    return next(at, size, protection, flags, file, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int file, off_t offset) {
    return mmap(at, size, protection, flags, file, offset);
}
