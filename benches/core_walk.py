"""What gdb_core.py and drgn_core.py have in common: the walk over all arenas of glibc's heap in a core, once the debugger
has told where things lie.

A chunk is in use if the chunk behind it says so (PREV_INUSE). Chunks that wait in a tcache or a fastbin keep that bit,
and count as in use here. Memory is read in windows of 64 KiB, as heap_walk.py does.
"""

import json
import time
from collections import namedtuple
from struct import Struct

WINDOW = 64 * 1024
PREV_INUSE = 1
FLAGS = 7
HEADER = 16
LARGEST_HEAP = 64 << 20  # HEAP_MAX_SIZE of glibc's arena.c on 64-bit machines

# Sizes and offsets in bytes, all from debug information.
Layout = namedtuple("Layout", "state_size top next info_size info_prev info_used")


def align(address):
    return (address + HEADER - 1) & -HEADER


def regions(read, layout, main_arena, sbrk_base):
    """Start and end of each piece of each arena. The end of an arena's last one is behind the header of its top chunk."""

    def word(address):
        return int.from_bytes(read(address, 8), "little")

    found = [(align(sbrk_base), word(main_arena + layout.top) + HEADER)]
    arena = word(main_arena + layout.next)
    while arena != main_arena:
        end = word(arena + layout.top) + HEADER
        heap = end & -LARGEST_HEAP
        while heap:
            previous = word(heap + layout.info_prev)
            own = layout.info_size if previous else layout.info_size + layout.state_size
            found.append((align(heap + own), end))
            heap = previous
            end = heap + word(heap + layout.info_used) if heap else 0
        arena = word(arena + layout.next)
    return found


def walk_region(read, start, end):
    """Chunks in use of one region and their bytes. A header that is too small for a chunk closes a heap."""
    size_word = Struct("<Q").unpack_from
    window, base, limit = b"", start, start
    address, before_size = start, 0
    count = total = 0
    while address + HEADER <= end:
        if address + HEADER > limit:
            base = address
            window = read(address, min(WINDOW, end - address))
            limit = base + len(window)
        header = size_word(window, address - base + 8)[0]
        if header & PREV_INUSE and before_size:
            count += 1
            total += before_size
        before_size = header & ~FLAGS
        if before_size < 2 * HEADER:
            break
        address += before_size
    return count, total


def walk(read, found):
    """Sums over all regions."""
    started = time.monotonic()
    sums = [walk_region(read, start, end) for start, end in found]
    return {
        "chunks": sum(count for count, _ in sums),
        "bytes": sum(total for _, total in sums),
        "seconds": time.monotonic() - started,
        "whole": True,
    }


def show(figures):
    """Prints the figures as one line of JSON."""
    print(json.dumps(figures))
