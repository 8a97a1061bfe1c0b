"""Walks the main heap and the pools of a live nginx worker from inside gdb:

    gdb -nx -batch -ex 'set $pid = PID' -x gdb_walk.py

The debug information of nginx is read before the worker is stopped, and of its libraries only libc's is read, so that
it stands still no longer than needed.
"""

import os
import sys

import gdb

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import gdb_common
import heap_walk


def offsets(type_name, names):
    """Offsets in bytes of members; `a.b` is member b of member a."""
    found = []
    for name in names:
        kind, offset = gdb.lookup_type(type_name).strip_typedefs(), 0
        for part in name.split("."):
            field = kind[part]
            offset += field.bitpos // 8
            kind = field.type.strip_typedefs()
        found.append(offset)
    return found


def prepare(pid):
    """What can be known before the stop."""
    gdb_common.take_program_of(pid)
    pool_size = gdb.lookup_type("ngx_pool_t").sizeof
    data_size = gdb.lookup_type("ngx_pool_data_t").sizeof
    pool = heap_walk.PoolLayout(
        pool_size, data_size, *offsets("ngx_pool_t", ("d.last", "d.end", "d.next", "max", "large"))
    )
    slot = heap_walk.SlotLayout(
        gdb.lookup_type("ngx_http_dyups_srv_conf_t").sizeof,
        *offsets("ngx_http_dyups_srv_conf_t", ("deleted", "pool")),
    )
    return pool, slot, offsets("ngx_pool_large_t", ("next", "alloc"))


def roots_of(pool, slot, large):
    """Where the heap and the dynamic upstreams are, in the stopped process."""
    context = gdb.parse_and_eval("(ngx_http_conf_ctx_t *) ngx_cycle->conf_ctx[ngx_http_module.index]")
    index = gdb.parse_and_eval("ngx_http_dyups_module.ctx_index")
    main_conf = gdb.lookup_type("ngx_http_dyups_main_conf_t").pointer()
    upstreams = context["main_conf"][index].cast(main_conf)["dy_upstreams"]
    return heap_walk.Roots(
        int(gdb.parse_and_eval("mp_.sbrk_base")),
        int(gdb.parse_and_eval("main_arena.top")),
        int(upstreams["elts"]),
        int(upstreams["nelts"]),
        pool,
        slot,
        *large,
    )


def main():
    pid = int(gdb.convenience_variable("pid"))
    layouts = prepare(pid)
    gdb.execute("attach %d" % pid, to_string=True)
    try:
        gdb.execute("sharedlibrary libc\\.so", to_string=True)
        memory = gdb.selected_inferior().read_memory
        figures = heap_walk.walk(lambda address, length: bytes(memory(address, length)), roots_of(*layouts))
    finally:
        gdb.execute("detach", to_string=True)
    heap_walk.show(figures)


main()
