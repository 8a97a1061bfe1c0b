//! Snapshots at random: every option there and not, and names that need care in JSON.

use poolscope::malloc::books::{ArenaBooks, Books, Mallinfo, Tally};
use poolscope::malloc::chunk::ChunkState;
use poolscope::malloc::seam::Seams;
use poolscope::snapshot::chunks::{ArenaName, ChunkClaim, ChunkTable};
use poolscope::snapshot::finding::Finding;
use poolscope::snapshot::holder::Holder;
use poolscope::snapshot::model::{
    ChunkGroup, FreezeInfo, HexAddr, LayoutSource, Layouts, Limits, MemoryRow, OwnerSummary, PoolCheck, ProcessInfo,
    SCHEMA_VERSION, Snapshot, SourceInfo, Thresholds,
};
use poolscope::snapshot::pool::{CleanupRow, Identity, PoolOwner, PoolRow, SLOT, Trust};
use poolscope::snapshot::sizes::SizeHistogram;
use std::sync::Arc;

/// xorshift64*: the same sequence for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.bits() % bound
    }

    fn maybe<T>(&mut self, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| value(self))
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 9] = [
            "",
            "svc",
            "\"quoted\" \\ and slashed /",
            "two\nlines\r\ttab",
            "Größe 水 🦀",
            "\u{1b}[31mred\u{202e}\u{0}",
            "a[*].b[3]",
            "{\"end\":{}}",
            "\u{2028}\u{feff}",
        ];
        format!("{}{}", TEXTS[self.below(9) as usize], self.below(3))
    }

    fn texts(&mut self) -> Vec<String> {
        (0..self.below(4)).map(|_| self.text()).collect()
    }

    /// Sizes are small far more often than large.
    fn size(&mut self) -> u64 {
        let bits = self.below(40);
        self.bits() & ((1 << bits) - 1)
    }

    fn address(&mut self) -> u64 {
        match self.below(20) {
            0 => self.bits() & !0xf,
            _ => 0x55d0_0000_0010 + self.below(1 << 30) * 16,
        }
    }
}

/// A snapshot with so many pools, and about so many chunks if any are asked for.
pub fn random(seed: u64, pools: u64, chunks: Option<u64>) -> Snapshot {
    let r = &mut Random::new(seed);
    let owners: Vec<OwnerSummary> = (0..=r.below(5)).map(|_| owner(r)).collect();
    let mut snapshot = Snapshot {
        schema_version: SCHEMA_VERSION,
        poolscope_version: r.text(),
        taken_at: 1_772_332_500.0 + r.below(1_000_000) as f64 / 1000.0,
        source: source(r),
        process: process(r),
        freeze: r.maybe(|r| FreezeInfo {
            pause_microseconds: r.size(),
            place: r.text(),
            consistency: r.text(),
            stops: r.below(9) as u32,
            unused_stops: r.below(9) as u32,
            bytes_read: r.size(),
            sum_microseconds: r.size(),
            elapsed_microseconds: r.size(),
            max_pause_microseconds: r.maybe(Random::size),
            seams: Seams { places: r.size(), chunks: r.size(), changed: r.size(), mended: r.size() },
        }),
        limits: r.maybe(limits),
        layouts: Layouts { nginx: layout(r), glibc: layout(r) },
        memory: (0..r.below(9)).map(|_| memory_row(r)).collect(),
        coverage: r.maybe(|r| r.bits() as f64 / u64::MAX as f64),
        books: r.maybe(books),
        mallinfo: r.maybe(|r| Mallinfo {
            arena: r.size(),
            ordblks: r.size(),
            keepcost: r.size(),
            ..Mallinfo::default()
        }),
        thresholds: r.maybe(|r| Thresholds {
            mmap_threshold: r.size(),
            trim_threshold: r.size(),
            fixed: r.below(2) == 0,
        }),
        notes: r.texts(),
        groups: (0..r.below(6)).map(|_| group(r)).collect(),
        pool_check: pool_check(r),
        pools: pool_rows(r, pools),
        findings: findings(r),
        chunks: None,
        owners,
    };
    snapshot.chunks = chunks.map(|chunks| chunk_table(r, &snapshot, chunks));
    snapshot
}

fn source(r: &mut Random) -> SourceInfo {
    SourceInfo {
        kind: r.text(),
        file: r.maybe(Random::text),
        signal: r.maybe(|r| r.bits() as i32),
        not_saved: r.size(),
        missing: r.size(),
    }
}

fn process(r: &mut Random) -> ProcessInfo {
    ProcessInfo {
        host: r.maybe(Random::text),
        pid: r.bits() as i32,
        parent: r.bits() as i32,
        role: r.text(),
        title: r.text(),
        executable: r.text(),
        build_id: r.maybe(Random::text),
        server: r.maybe(Random::text),
        age_seconds: r.maybe(Random::size),
        started_at: r.maybe(|r| r.size() as f64 / 100.0),
        start_ticks: r.maybe(Random::bits),
        parent_start_ticks: r.maybe(Random::bits),
        boot_id: r.maybe(Random::text),
        threads: r.below(99) as usize,
        resident: r.maybe(Random::size),
        allocator: r.text(),
        allocator_version: r.maybe(Random::text),
    }
}

fn limits(r: &mut Random) -> Limits {
    Limits {
        machine_total: r.maybe(Random::size),
        machine_available: r.maybe(Random::size),
        cgroup: r.maybe(Random::text),
        cgroup_limit: r.maybe(Random::size),
        cgroup_usage: r.maybe(Random::size),
    }
}

fn layout(r: &mut Random) -> LayoutSource {
    LayoutSource {
        kind: r.text(),
        file: r.maybe(Random::text),
        verified_by: r.maybe(Random::text),
        problem: r.maybe(Random::text),
        tried: r.texts(),
    }
}

fn memory_row(r: &mut Random) -> MemoryRow {
    MemoryRow {
        kind: r.text(),
        label: r.text(),
        nested: r.below(2) == 0,
        size: r.size(),
        resident: r.maybe(Random::size),
        swapped: r.maybe(Random::size),
    }
}

fn owner(r: &mut Random) -> OwnerSummary {
    let mut sizes = SizeHistogram::default();
    for _ in 0..r.below(20) {
        sizes.add(r.size());
    }
    OwnerSummary {
        owner: r.text(),
        label: r.text(),
        names: (0..r.below(4)).map(|_| (r.text(), r.size())).collect(),
        pools: r.size(),
        chunks: r.size(),
        bytes: r.size(),
        used: r.size(),
        sizes,
    }
}

fn trust(r: &mut Random) -> Trust {
    const ALL: [Trust; 5] =
        [Trust::TypedPath, Trust::InferredPath, Trust::BuiltInPath, Trust::Referenced, Trust::Signature];
    ALL[r.below(5) as usize]
}

fn group(r: &mut Random) -> ChunkGroup {
    ChunkGroup {
        owner: r.text(),
        name: r.text(),
        trust: trust(r),
        path: r.text(),
        chunks: r.size(),
        bytes: r.size(),
        smallest: r.size(),
        largest: r.size(),
        example: HexAddr(r.address()),
    }
}

fn books(r: &mut Random) -> Books {
    let tally = |r: &mut Random| Tally { chunks: r.size(), bytes: r.size() };
    let arena = |r: &mut Random| ArenaBooks {
        address: r.address(),
        is_main: r.below(2) == 0,
        system_mem: r.size(),
        in_use: tally(r),
        tcache: tally(r),
        fastbin: tally(r),
        free: tally(r),
        top: r.size(),
        overhead: r.size(),
        foreign: r.size(),
        in_bins: tally(r),
    };
    Books {
        arenas: (0..r.below(4)).map(|_| arena(r)).collect(),
        mmapped: tally(r),
        n_mmaps: r.size(),
        mmapped_mem: r.size(),
        problems: r.texts(),
    }
}

fn pool_check(r: &mut Random) -> PoolCheck {
    PoolCheck {
        by_signature: r.size(),
        by_name: r.size(),
        both: r.size(),
        only_by_name: (0..r.below(3)).map(|_| (HexAddr(r.address()), r.text())).collect(),
        only_by_signature: (0..r.below(3)).map(|_| HexAddr(r.address())).collect(),
        problems: r.texts(),
        unfinished: r.texts(),
    }
}

fn findings(r: &mut Random) -> Vec<Finding> {
    let mut all = vec![
        Finding::DeletedButReferenced {
            upstream: r.text(),
            pools: r.size(),
            references: r.size(),
            bytes: r.size(),
            path: r.text(),
            holders: vec![Holder {
                label: r.text(),
                references: r.size(),
                oldest_ms: r.maybe(Random::size),
                ..Holder::default()
            }],
            unexplained: r.size(),
            created_at: r.maybe(Random::text),
        },
        Finding::DeletedAndUnreferenced { upstream: r.text(), pools: r.size(), bytes: r.size(), path: r.text() },
        Finding::PoolsWithoutOwner { pools: r.size(), bytes: r.size() },
        Finding::OutsidePools { chunks: r.size(), bytes: r.size(), percent: r.below(101) },
        Finding::FreeButKept { bytes: r.size(), resident: r.maybe(Random::size) },
        Finding::LargePool {
            address: r.address(),
            label: r.text(),
            bytes: r.size(),
            path: r.text(),
            owner: r.text(),
            state: r.maybe(Random::text),
            age_ms: r.maybe(Random::size),
        },
        Finding::ShuttingDown { clients: r.size(), bytes: r.size(), oldest_ms: r.maybe(Random::size) },
        Finding::Unknown,
    ];
    all.truncate(r.below(9) as usize);
    all
}

fn pool_rows(r: &mut Random, count: u64) -> Vec<PoolRow> {
    let owner = |r: &mut Random| PoolOwner {
        kind: r.text(),
        label: r.text(),
        name: r.maybe(Random::text),
        state: r.maybe(Random::text),
        trust: trust(r),
        protocol: r.maybe(Random::text),
        handler: r.maybe(Random::text),
        path: if r.below(2) == 0 { format!("{}{SLOT}.pool", r.below(9)) } else { r.text() },
    };
    let owners: Vec<Arc<PoolOwner>> = (0..1 + count / 3).map(|_| Arc::new(owner(r))).collect();
    let has = [r.below(2) == 0, r.below(2) == 0];
    (0..count).map(|_| pool(r, &owners, has)).collect()
}

fn pool(r: &mut Random, owners: &[Arc<PoolOwner>], [with_ages, with_clients]: [bool; 2]) -> PoolRow {
    let cleanups: Vec<CleanupRow> =
        (0..r.below(3)).map(|_| CleanupRow { handler: r.text(), count: r.size() }).collect();
    PoolRow {
        address: HexAddr(r.address()),
        owner: owners[r.below(owners.len() as u64) as usize].clone(),
        slot: r.maybe(|r| r.bits() as u32),
        identity: r.maybe(|r| Identity { connection: r.bits(), request: r.below(9) }),
        second_block: r.maybe(|r| HexAddr(r.address())),
        references: r.maybe(Random::size),
        age_ms: if with_ages { r.maybe(Random::bits) } else { None },
        client: if with_clients { r.maybe(|r| r.text().into()) } else { None },
        uri: if with_clients { r.maybe(|r| r.text().into()) } else { None },
        block_size: r.bits(),
        blocks: r.size(),
        large: r.size(),
        large_freed: r.size(),
        block_bytes: r.size(),
        large_bytes: r.size(),
        used: r.size(),
        unused: r.size(),
        lost: r.size(),
        cleanups: cleanups.into(),
    }
}

fn chunk_table(r: &mut Random, snapshot: &Snapshot, count: u64) -> ChunkTable {
    let [pools, owners, groups] =
        [snapshot.pools.len(), snapshot.owners.len(), snapshot.groups.len()].map(|n| n as u64);
    let mut owners_of = |count: u64| (0..count).map(|_| r.below(owners) as u32).collect();
    let (of_pools, of_groups) = (owners_of(pools), owners_of(groups));
    let mut table = ChunkTable::new(of_pools, of_groups);
    let (mut arena, mut address) = (ArenaName::Main, 0x55d0_0000_0010);
    for _ in 0..count {
        if r.below(10) == 0 {
            address = r.address();
            arena = [ArenaName::Main, ArenaName::Mmapped, ArenaName::Other(r.address())][r.below(3) as usize];
        }
        let size = if r.below(30) == 0 { r.size() & !0xf } else { 32 + 16 * r.below(31) };
        let claim = match r.below(4) {
            0 => ChunkClaim::Nobody,
            1 if pools > 0 => ChunkClaim::Pool(r.below(pools) as u32),
            _ if groups == 0 => ChunkClaim::Nobody,
            _ => ChunkClaim::Group(r.below(groups) as u32),
        };
        table.push(arena, address, size, ChunkState::ALL[r.below(6) as usize], claim);
        address = address.wrapping_add(size);
    }
    table
}
