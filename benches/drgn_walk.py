"""Walks the main heap and the pools of a live nginx worker with drgn, which reads without stopping it:

    python3 drgn_walk.py PID

The worker runs on meanwhile, so the walk can lose its way when chunks are split or merged under it. It is then tried
again from the start, as a person would.
"""

import os
import sys

import drgn

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import heap_walk

TRIES = 5


def open_program(pid):
    """The process, with the debug information of nginx and libc only."""
    prog = drgn.Program()
    prog.set_pid(pid)
    wanted = []
    for module, _ in prog.loaded_modules():
        name = os.path.basename(module.name)
        if isinstance(module, drgn.MainModule) or name.startswith("libc.so"):
            wanted.append(module)
    prog.load_module_debug_info(*wanted)
    return prog


def offsets(prog, type_name, names):
    """Offsets in bytes of members; `a.b` is member b of member a."""
    kind = prog.type(type_name)
    return [drgn.offsetof(kind, name) for name in names]


def roots_of(prog):
    """Where the heap and the dynamic upstreams are."""
    pool = heap_walk.PoolLayout(
        drgn.sizeof(prog.type("ngx_pool_t")),
        drgn.sizeof(prog.type("ngx_pool_data_t")),
        *offsets(prog, "ngx_pool_t", ("d.last", "d.end", "d.next", "max", "large")),
    )
    slot = heap_walk.SlotLayout(
        drgn.sizeof(prog.type("ngx_http_dyups_srv_conf_t")),
        *offsets(prog, "ngx_http_dyups_srv_conf_t", ("deleted", "pool")),
    )
    large = offsets(prog, "ngx_pool_large_t", ("next", "alloc"))
    http = prog["ngx_cycle"].conf_ctx[prog["ngx_http_module"].index]
    context = drgn.cast("ngx_http_conf_ctx_t *", http)
    conf = context.main_conf[prog["ngx_http_dyups_module"].ctx_index]
    upstreams = drgn.cast("ngx_http_dyups_main_conf_t *", conf).dy_upstreams
    return heap_walk.Roots(
        prog.variable("mp_", "malloc.c").sbrk_base.value_(),
        prog.variable("main_arena", "malloc.c").top.value_(),
        upstreams.elts.value_(),
        upstreams.nelts.value_(),
        pool,
        slot,
        *large,
    )


def main():
    prog = open_program(int(sys.argv[1]))
    for tries_left in reversed(range(TRIES)):
        try:
            figures = heap_walk.walk(prog.read, roots_of(prog))
            break
        except (ValueError, drgn.FaultError):
            if not tries_left:
                raise
    heap_walk.show(figures)


main()
