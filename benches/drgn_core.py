"""Walks all arenas of glibc's heap in a core with drgn:

    python3 drgn_core.py CORE
"""

import os
import sys

import drgn

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_walk


def open_program(core):
    """The process, with the debug information of libc only."""
    prog = drgn.Program()
    prog.set_core_dump(core)
    modules = [module for module, _ in prog.loaded_modules()]
    prog.load_module_debug_info(*(module for module in modules if os.path.basename(module.name).startswith("libc.so")))
    return prog


def main():
    prog = open_program(sys.argv[1])
    state, info = prog.type("struct malloc_state"), prog.type("struct _heap_info")
    layout = core_walk.Layout(
        drgn.sizeof(state),
        drgn.offsetof(state, "top"),
        drgn.offsetof(state, "next"),
        drgn.sizeof(info),
        drgn.offsetof(info, "prev"),
        drgn.offsetof(info, "size"),
    )
    main_arena = prog.variable("main_arena", "malloc.c").address_
    sbrk_base = prog.variable("mp_", "malloc.c").sbrk_base.value_()
    core_walk.show(core_walk.walk(prog.read, core_walk.regions(prog.read, layout, main_arena, sbrk_base)))


main()
