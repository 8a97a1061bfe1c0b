//! What a rehearsal on the running target leaves for the reading in earnest, and what is made ready for it before the stop.

use super::chunk::HEADER;
use super::mmapped::MmappedChunk;
use super::read::{HeapReading, RegionReading};
use super::reader::{Counts, ReadPlan};
use super::sweep::{Buffer, Slot};
use super::walk::PayloadVisitor;
use crate::addr::Addr;
use crate::target::caught::CaughtLines;
use crate::target::lines::WantedLines;
use rustc_hash::FxHashMap;

/// What a rehearsal leaves for the reading in earnest.
#[derive(Debug, Clone, Default)]
pub struct Rehearsal {
    /// By the first chunk's start.
    pub(super) plans: FxHashMap<Addr, ReadPlan>,
    /// Where pieces of the main arena start, after the first.
    pub(super) pieces: Vec<Addr>,
    pub(super) mmapped: Vec<MmappedChunk>,
    /// Of how many chunks the visitors noted something.
    noted: usize,
    /// How many lines are wanted.
    lines: usize,
    /// Lines that malloc's lists of freed chunks lead through, by their start addresses in address order; none if all is read
    /// in one stop, which catches them with the rest. After several stops the lists are followed anew: a hundred thousand
    /// chunks may hang there, and page by page that took as long as the heap itself.
    lists: Vec<Addr>,
}

impl Rehearsal {
    /// Turns a reading into plans: of each chunk `wanted` bytes of user memory are needed, and these lines (start
    /// addresses in address order), and the work is to be shared by `threads` threads; `lists` are the lines that lists of
    /// freed chunks lead through, unless all will be read in one stop.
    pub fn of<V: PayloadVisitor>(
        reading: &HeapReading<V>,
        wanted: u64,
        lines: &[Addr],
        lists: Vec<Addr>,
        threads: u64,
    ) -> Rehearsal {
        // Several pieces for each thread, so that none is left with much to do when the others have finished.
        let pieces = if threads > 1 { threads * 8 } else { 1 };
        let plan = |region: &RegionReading| {
            let chunks = region.parts.iter().flatten().copied();
            let plan = ReadPlan::for_chunks(chunks, HEADER + wanted.max(HEADER), lines, pieces);
            (region.region.chunks.start, plan)
        };
        let main_pieces = reading.regions.iter().filter(|region| region.region.arena == 0).skip(1);
        Rehearsal {
            plans: reading.regions.iter().map(plan).collect(),
            pieces: main_pieces.map(|region| region.region.chunks.start).collect(),
            mmapped: reading.mmapped.clone(),
            noted: reading.visitors.iter().map(PayloadVisitor::noted).sum(),
            lines: lines.len(),
            lists,
        }
    }

    /// How many chunks were found in arenas.
    pub fn chunks(&self) -> u64 {
        self.plans.values().flat_map(|plan| &plan.counts).map(|counts| counts.chunks as u64).sum()
    }

    fn lines_inside(&self) -> usize {
        self.plans.values().map(|plan| plan.lines).sum()
    }

    /// How many of the wanted lines lie in no chunk of an arena: nobody will catch them.
    pub fn lines_outside(&self) -> usize {
        self.lines.saturating_sub(self.lines_inside())
    }

    /// The lines that lists of freed chunks lead through, with room for them.
    pub fn lists(&self) -> WantedLines {
        WantedLines::new(self.lists.clone(), CaughtLines::with_room_for(self.lists.len()))
    }

    /// Bytes that the plans will read.
    pub fn planned_bytes(&self) -> u64 {
        self.plans.values().map(ReadPlan::bytes).sum()
    }
}

/// Memory that the reading in earnest writes into. It is allocated and touched before the stop: a page fault costs more
/// than reading the page from the target.
#[derive(Debug)]
pub struct Workspace<V> {
    /// One for each reading thread.
    pub(super) buffers: Vec<Buffer>,
    /// By the first chunk's start of each region, those of the first stretch first.
    slots: FxHashMap<Addr, std::vec::IntoIter<Slot<V>>>,
    /// For following lists of freed chunks when all else is read.
    lists: Option<WantedLines>,
}

/// Room for so many notes is made in any stretch that has as many chunks.
const LEAST_NOTED: usize = 64;

impl<V: PayloadVisitor> Workspace<V> {
    /// Room for what the rehearsal has found, and a little more.
    pub fn for_plan(rehearsal: &Rehearsal, threads: u64, make_visitor: &impl Fn() -> V) -> Workspace<V> {
        // Chunks of which something is noted, pools and their blocks, lie side by side in places: some stretches have more of
        // them than others.
        let share = 2.0 * rehearsal.noted as f64 / rehearsal.chunks().max(1) as f64;
        let noted = |chunks: usize| chunks.min((chunks as f64 * share) as usize + LEAST_NOTED);
        let slots = |plan: &ReadPlan| -> Vec<Slot<V>> {
            let room = plan.counts.iter();
            room.map(|counts| Slot::with_room_for(*counts, noted(counts.chunks), make_visitor())).collect()
        };
        let threads = threads.max(1) as usize;
        let lines = rehearsal.lines_inside();
        // One thread may meet more of them than another, by how much nobody knows: a quarter seldom grows.
        let lines = if threads > 1 { lines / threads * 5 / 4 } else { lines };
        Workspace {
            buffers: (0..threads).map(|_| Buffer::with_room_for(lines)).collect(),
            slots: rehearsal.plans.iter().map(|(region, plan)| (*region, slots(plan).into_iter())).collect(),
            lists: Some(rehearsal.lists()),
        }
    }

    /// The lines that lists of freed chunks lead through; none when they are asked for again.
    pub(super) fn take_lists(&mut self) -> WantedLines {
        self.lists.take().unwrap_or_else(|| WantedLines::new(Vec::new(), CaughtLines::default()))
    }

    /// The slot for the next stretch of the region that starts with the chunk at `region`.
    pub(super) fn slot(&mut self, region: Addr, make_visitor: &impl Fn() -> V) -> Slot<V> {
        let prepared = self.slots.get_mut(&region).and_then(Iterator::next);
        prepared.unwrap_or_else(|| Slot::with_room_for(Counts::default(), 0, make_visitor()))
    }
}
