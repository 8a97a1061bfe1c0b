//! Whether what a file says can be: whoever uses a snapshot may then follow its indices and add its sizes up.

use crate::malloc::books::{ArenaBooks, Books};
use crate::snapshot::chunks::ChunkClaim;
use crate::snapshot::model::Snapshot;
use crate::snapshot::sizes::SizeHistogram;

/// Sums of sizes and of counts stay below: far above what 57 bits of address can hold, and far below where sums and
/// differences of 64 bits overflow.
const MOST: u128 = 1 << 60;

/// Says what cannot be, if anything. The snapshot's owners name `pools` pools, which need not have been read.
pub(super) fn check(snapshot: &Snapshot, pools: u64) -> Result<(), String> {
    check_range("coverage", snapshot.coverage, 1.0)?;
    check_range("taken_at", Some(snapshot.taken_at), LATEST)?;
    let owners = &snapshot.owners;
    adds_up("sizes of owners", owners.iter().flat_map(|owner| [owner.bytes, owner.chunks, owner.pools, owner.used]))?;
    adds_up("size buckets", owners.iter().flat_map(|owner| bucket_numbers(&owner.sizes)))?;
    let rows = snapshot.memory.iter();
    let of_row = |resident: Option<u64>, swapped: Option<u64>| [resident.unwrap_or(0), swapped.unwrap_or(0)];
    adds_up("rows of memory", rows.flat_map(|row| of_row(row.resident, row.swapped).into_iter().chain([row.size])))?;
    adds_up("books", snapshot.books.iter().flat_map(book_numbers))?;
    check_mallinfo(snapshot)?;
    adds_up(
        "sizes of pools",
        snapshot.pools.iter().flat_map(|pool| {
            [
                pool.block_bytes,
                pool.large_bytes,
                pool.used,
                pool.unused,
                pool.lost,
                pool.blocks,
                pool.large,
                pool.large_freed,
            ]
        }),
    )?;
    adds_up("references", snapshot.pools.iter().filter_map(|pool| pool.references))?;
    check_groups(snapshot)?;
    check_chunks(snapshot, pools)
}

/// The year 10000, in seconds since 1970.
const LATEST: f64 = 253_402_300_800.0;

fn check_range(what: &str, value: Option<f64>, most: f64) -> Result<(), String> {
    match value.is_none_or(|value| (0.0..=most).contains(&value)) {
        true => Ok(()),
        false => Err(format!("{what} is out of range")),
    }
}

fn bucket_numbers(sizes: &SizeHistogram) -> impl Iterator<Item = u64> + '_ {
    sizes.buckets.iter().flat_map(|bucket| [bucket.chunks, bucket.bytes])
}

fn book_numbers(books: &Books) -> impl Iterator<Item = u64> + '_ {
    let own = [books.mmapped.chunks, books.mmapped.bytes, books.n_mmaps, books.mmapped_mem];
    own.into_iter().chain(books.arenas.iter().flat_map(arena_numbers))
}

fn arena_numbers(arena: &ArenaBooks) -> impl Iterator<Item = u64> + use<> {
    let tallies = [arena.in_use, arena.tcache, arena.fastbin, arena.free, arena.in_bins];
    let numbers = [arena.system_mem, arena.top, arena.overhead, arena.foreign];
    numbers.into_iter().chain(tallies.into_iter().flat_map(|tally| [tally.chunks, tally.bytes]))
}

fn check_mallinfo(snapshot: &Snapshot) -> Result<(), String> {
    adds_up(
        "mallinfo",
        snapshot.mallinfo.iter().flat_map(|info| {
            let bytes = [info.arena, info.hblkhd, info.fsmblks, info.uordblks, info.fordblks, info.keepcost];
            bytes.into_iter().chain([info.ordblks, info.smblks, info.hblks])
        }),
    )
}

fn check_groups(snapshot: &Snapshot) -> Result<(), String> {
    let groups = &snapshot.groups;
    if groups.len() as u64 > ChunkClaim::MOST_GROUPS {
        return Err(format!("more groups than the {} that can be told apart", ChunkClaim::MOST_GROUPS));
    }
    adds_up("sizes of groups", groups.iter().flat_map(|group| [group.bytes, group.chunks]))
}

fn check_chunks(snapshot: &Snapshot, pools: u64) -> Result<(), String> {
    let Some(table) = &snapshot.chunks else { return Ok(()) };
    adds_up("sizes of chunks", table.entries().map(|(size, _, _)| size))?;
    let owners = snapshot.owners.len() as u64;
    if table.owner_of_pool().iter().chain(table.owner_of_group()).any(|owner| u64::from(*owner) >= owners) {
        return Err(format!("a pool or group names an owner that is not among the {owners} there are"));
    }
    let known = pools.min(table.owner_of_pool().len() as u64);
    let groups = (snapshot.groups.len() as u64).min(table.owner_of_group().len() as u64);
    for (_, _, claim) in table.entries() {
        claim.is_below(known, groups).then_some(()).ok_or("a chunk names a group or pool that is not there")?;
    }
    Ok(())
}

fn adds_up(what: &str, numbers: impl Iterator<Item = u64>) -> Result<(), String> {
    match numbers.map(u128::from).sum::<u128>() < MOST {
        true => Ok(()),
        false => Err(format!("{what} add up to more than there can be")),
    }
}
