"""What gdb_walk.py and drgn_walk.py have in common: once a debugger has told where things lie, the walk over glibc's
main heap and nginx's pools is the same, and the two differ only in how they read memory.

A chunk is in use if the chunk behind it says so (PREV_INUSE). Chunks that wait in a tcache or a fastbin keep that bit,
and count as in use here. Memory is read in windows, and what a large chunk holds beyond its window is not read. Of
windows from 32 KiB to 1 MiB none was clearly faster than 64 KiB.
"""

import json
from collections import namedtuple
from struct import Struct

WINDOW = 64 * 1024
PREV_INUSE = 1
FLAGS = 7
HEADER = 16
WORD = 8

# Offsets in bytes, and sizes, of the members that are needed; all from debug information.
PoolLayout = namedtuple("PoolLayout", "size data_size last end next max large")
SlotLayout = namedtuple("SlotLayout", "size deleted pool")

# What the debugger knows: addresses, and the layouts above.
Roots = namedtuple("Roots", "sbrk_base top dyups_slots dyups_count pool slot large_next large_alloc")

STATES = {0: "dyups.live", 1: "dyups.deleting"}


class Heap:
    """The chunks in use of the main heap, and those of them that look like blocks of pools."""

    def __init__(self):
        self.chunks = 0
        self.bytes = 0
        self.sizes = {}  # address of the memory -> chunk size, for all that is no block
        self.blocks = {}  # address of the block -> (chunk size, next block)
        self.heads = []  # (address, first large node)


def walk_heap(read, roots):
    """Walks from the first chunk to the top one; `read(address, length)` gives bytes."""
    heap = Heap()
    layout = roots.pool
    words = Struct("<%dQ" % (layout.size // WORD))
    last_at, end_at, next_at = layout.last // WORD, layout.end // WORD, layout.next // WORD
    max_at, large_at = layout.max // WORD, layout.large // WORD
    pool_size, data_size = layout.size, layout.data_size
    size_word = Struct("<Q").unpack_from
    needed = HEADER + pool_size
    largest = 4095  # NGX_MAX_ALLOC_FROM_POOL with pages of 4 KiB
    sizes, blocks, heads = heap.sizes, heap.blocks, heap.heads

    address, end = roots.sbrk_base, roots.top
    window, base, limit = b"", address, address
    # The chunk before the one that is looked at: its state is known only now.
    before, before_size, fields = 0, 0, None
    total = count = 0
    while address <= end:
        if address + needed > limit:
            base = address
            window = read(address, max(min(WINDOW, end + HEADER - address), HEADER))
            limit = base + len(window)
        offset = address - base
        header = size_word(window, offset + WORD)[0]
        if header & PREV_INUSE and before:
            count += 1
            total += before_size
            memory = before + HEADER
            if fields and memory + data_size <= fields[last_at] <= fields[end_at] <= memory + before_size - WORD:
                block_end = fields[end_at]
                blocks[memory] = (before_size, fields[next_at])
                if fields[max_at] == min(block_end - memory - pool_size, largest):
                    heads.append((memory, fields[large_at]))
            else:
                sizes[memory] = before_size
        before, before_size = address, header & ~FLAGS
        if before_size < 2 * HEADER:
            raise ValueError("no chunk at %#x: the chain of sizes is lost" % address)
        fields = words.unpack_from(window, offset + HEADER) if address + needed <= limit else None
        address += before_size
    heap.chunks, heap.bytes = count, total
    return heap


def pool_contents(read, roots, heap, head, large):
    """Chunks and bytes of one pool; None if what looked like a pool is none."""
    pair = Struct("<QQ").unpack
    chunks = total = 0
    block = head
    while block:
        if block not in heap.blocks or chunks > len(heap.blocks):
            return None
        size, block = heap.blocks[block]
        chunks += 1
        total += size
    node_size = max(roots.large_next, roots.large_alloc) + WORD
    while large:
        node = read(large, node_size)
        following = int.from_bytes(node[roots.large_next : roots.large_next + WORD], "little")
        memory = int.from_bytes(node[roots.large_alloc : roots.large_alloc + WORD], "little")
        if memory:
            size = heap.sizes.get(memory)
            if size is None:
                size = pair(read(memory - HEADER, HEADER))[1] & ~FLAGS
            chunks += 1
            total += size
        large = following
    return chunks, total


def dyups_states(read, roots):
    """Owner by address of the pool, from the array of dynamic upstreams."""
    slots = read(roots.dyups_slots, roots.dyups_count * roots.slot.size)

    def word(index, member):
        at = index * roots.slot.size + member
        return int.from_bytes(slots[at : at + WORD], "little")

    states = {}
    for index in range(roots.dyups_count):
        pool = word(index, roots.slot.pool)
        state = STATES.get(word(index, roots.slot.deleted))
        if pool and state:
            states[pool] = state
    return states


def walk(read, roots):
    """All figures, as a dictionary."""
    heap = walk_heap(read, roots)
    states = dyups_states(read, roots)
    owners = {}
    for head, large in heap.heads:
        contents = pool_contents(read, roots, heap, head, large)
        if contents is None:
            continue
        owner = owners.setdefault(states.get(head, "other pools"), {"pools": 0, "chunks": 0, "bytes": 0})
        owner["pools"] += 1
        owner["chunks"] += contents[0]
        owner["bytes"] += contents[1]
    return {"chunks_in_use": heap.chunks, "bytes_in_use": heap.bytes, "owners": owners}


def show(figures):
    """Prints the figures as one line of JSON."""
    print(json.dumps(figures))
