"""Walks all arenas of glibc's heap in a live process from inside gdb:

    gdb -nx -batch -ex 'set $pid = PID' -ex 'set $seconds = 60' -x gdb_arenas.py

The same walk as gdb_core.py's. When the time is up it ends where it is, and the process runs on: to kill gdb would do that, too,
but only if it is not in the middle of its attach.
"""

import os
import sys
import time

import gdb

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_walk
import gdb_common


class TimeIsUp(Exception):
    pass


def walk(deadline):
    memory = gdb.selected_inferior().read_memory

    def read(address, length):
        if time.monotonic() > deadline:
            raise TimeIsUp
        return bytes(memory(address, length))

    main_arena = int(gdb.parse_and_eval("&main_arena"))
    sbrk_base = int(gdb.parse_and_eval("mp_.sbrk_base"))
    try:
        found = core_walk.regions(read, gdb_common.arena_layout(), main_arena, sbrk_base)
        return core_walk.walk(read, found)
    except TimeIsUp:
        return {"whole": False}


def main():
    pid = int(gdb.convenience_variable("pid"))
    seconds = int(gdb.convenience_variable("seconds"))
    gdb_common.take_program_of(pid)
    gdb.execute("attach %d" % pid, to_string=True)
    try:
        gdb.execute("sharedlibrary libc\\.so", to_string=True)
        figures = walk(time.monotonic() + seconds)
    finally:
        gdb.execute("detach", to_string=True)
    core_walk.show(figures)


main()
