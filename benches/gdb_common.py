"""What the scripts for gdb have in common."""

import gdb

import core_walk


def take_program_of(pid):
    """What can be done before a process is stopped: its program is read, and of its libraries none."""
    for command in (
        "set pagination off",
        "set confirm off",
        "set auto-solib-add off",
        "set libthread-db-search-path /nonexistent",
        "file /proc/%d/exe" % pid,
    ):
        gdb.execute(command, to_string=True)


def offset(kind, name):
    return next(field.bitpos // 8 for field in kind.fields() if field.name == name)


def arena_layout():
    """The layout of glibc's arenas, from its debug information."""
    state = gdb.lookup_type("struct malloc_state")
    info = gdb.lookup_type("struct _heap_info")
    return core_walk.Layout(
        state.sizeof,
        offset(state, "top"),
        offset(state, "next"),
        info.sizeof,
        offset(info, "prev"),
        offset(info, "size"),
    )
