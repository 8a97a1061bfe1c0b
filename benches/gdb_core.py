"""Walks all arenas of glibc's heap in a core from inside gdb:

    gdb -nx -batch -ex 'set $limit = 0' -x gdb_core.py BINARY CORE

With a $limit above 0 chunk after chunk is looked at as gdb's own values, as people do who know gdb better than the struct
module, and the walk ends after so many: all of them would take too long.
"""

import os
import sys
import time

import gdb

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_walk
import gdb_common


def walk_values(found, limit):
    """The same walk with gdb's values, up to `limit` chunks."""
    started = time.monotonic()
    chunk_type = gdb.lookup_type("struct malloc_chunk").pointer()
    walked = chunks = total = 0
    for start, end in found:
        address, before = start, 0
        while walked < limit and address + core_walk.HEADER <= end:
            header = int(gdb.Value(address).cast(chunk_type)["mchunk_size"])
            if header & core_walk.PREV_INUSE and before:
                chunks += 1
                total += before
            before = header & ~core_walk.FLAGS
            if before < 2 * core_walk.HEADER:
                break
            address += before
            walked += 1
    return {"chunks": chunks, "bytes": total, "seconds": time.monotonic() - started, "whole": False}


def main():
    memory = gdb.selected_inferior().read_memory

    def read(address, length):
        return bytes(memory(address, length))

    main_arena = int(gdb.parse_and_eval("&main_arena"))
    found = core_walk.regions(read, gdb_common.arena_layout(), main_arena, int(gdb.parse_and_eval("mp_.sbrk_base")))
    limit = int(gdb.convenience_variable("limit"))
    core_walk.show(walk_values(found, limit) if limit else core_walk.walk(read, found))


main()
