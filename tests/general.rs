//! The general way to pools, on a real nginx: by types alone, with no file for any kind of owner.

use poolscope::addr::{Addr, LoadBias};
use poolscope::analysis::{Options, Silent, take};
use poolscope::debug::{Binary, DebugInfo, SearchOptions};
use poolscope::malloc::chunk::ChunkState;
use poolscope::nginx::general::{Budget, Exploration, FoundPool, Input, Place, Places, explore};
use poolscope::nginx::owner::NginxModule;
use poolscope::snapshot::model::Snapshot;
use poolscope::target::live::LiveMemory;
use poolscope::target::maps::Maps;
use poolscope::target::modules::open_executable;
use poolscope_fixtures::{Generation, Leak, LeakPlan, Nginx, State};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// malloc's own word in each chunk, which is no part of what the program may use.
const HEADER: u64 = 8;

/// The heap and the pools of a snapshot, and the data of the binary.
struct Known {
    /// Chunks in use: what malloc returned, usable bytes, and the pool.
    chunks: Vec<(u64, u64, Option<u32>)>,
    pools: HashMap<u64, u32>,
    data: Vec<(u64, u64)>,
}

impl Places for Known {
    fn at(&self, address: Addr) -> Place {
        let after = self.chunks.partition_point(|(start, ..)| *start <= address.0);
        if let Some((start, size, pool)) = after.checked_sub(1).map(|index| self.chunks[index])
            && address.0 - start < size
        {
            let outside = Place::Chunk { start: Addr(start), size };
            return pool.map_or(outside, |index| Place::Pool { index });
        }
        let is_data = self.data.iter().any(|(start, end)| (*start..*end).contains(&address.0));
        if is_data { Place::Static } else { Place::Other }
    }

    fn pool_at(&self, address: Addr) -> Option<u32> {
        self.pools.get(&address.0).copied()
    }
}

impl Known {
    fn new(snapshot: &Snapshot, debug: &DebugInfo, bias: LoadBias) -> Known {
        let rows = snapshot.chunks.as_ref().unwrap().iter().filter(|row| row.state == ChunkState::InUse);
        let mut chunks: Vec<(u64, u64, Option<u32>)> =
            rows.map(|row| (row.address, row.size - HEADER, row.pool)).collect();
        chunks.sort_unstable();
        let pools = (0u32..).zip(&snapshot.pools).map(|(index, pool)| (pool.address.0, index)).collect();
        let data = debug.segments().iter().filter(|segment| !segment.executable);
        let data = data.map(|segment| {
            let start = bias.to_running(segment.address).0;
            (start, start + segment.memory_size)
        });
        Known { chunks, pools, data: data.collect() }
    }
}

/// A worker that does nothing: what is read of it stays true without stopping it.
struct Worker {
    snapshot: Snapshot,
    debug: DebugInfo,
    bias: LoadBias,
    memory: LiveMemory,
    known: Known,
}

impl Worker {
    fn of(nginx: &Nginx) -> Worker {
        let pid = nginx.worker_pid().unwrap() as i32;
        let options = Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() };
        let snapshot = take(pid, &options, &Silent).unwrap();
        let module = open_executable(pid, &Maps::read(pid).unwrap()).unwrap();
        let (start, offset) = module.mappings[0];
        let binary = Binary { file: module.file, path: module.path };
        let debug = DebugInfo::load(&binary, &options.debug).unwrap();
        let segment = debug.segments().iter().find(|segment| segment.offset & !4095 == offset).unwrap();
        let bias = LoadBias(start.0 - (segment.address.0 & !4095));
        let known = Known::new(&snapshot, &debug, bias);
        Worker { snapshot, debug, bias, memory: LiveMemory::open(pid).unwrap(), known }
    }

    fn explore(&self) -> Exploration {
        let modules = [NginxModule {
            debug: &self.debug,
            bias: self.bias,
            dynamic: &[],
            show_clients: false,
            runs: false,
            built_in: None,
        }];
        let input = Input {
            modules: &modules,
            memory: &self.memory,
            places: &self.known,
            budget: Budget { time: Duration::from_secs(300), ..Budget::default() },
        };
        explore(&input)
    }
}

/// Pools that the dyups module still has, by address.
fn generations(nginx: &Nginx) -> BTreeMap<u64, Generation> {
    let all = nginx.detail().unwrap();
    all.into_iter().filter(|entry| entry.state != State::Deleted).map(|entry| (entry.pool, entry)).collect()
}

fn by_address(found: &Exploration) -> BTreeMap<u64, &FoundPool> {
    found.pools.iter().map(|pool| (pool.pool.0, pool)).collect()
}

/// Every generation is found through the module's own array, with its slot.
fn check_generations(found: &Exploration, stated: &BTreeMap<u64, Generation>) {
    let pools = by_address(found);
    for (address, generation) in stated {
        let pool = pools.get(address).unwrap_or_else(|| panic!("{address:#x} was not found: {:?}", found.problems));
        let path = format!(
            "ngx_cycle->conf_ctx[ngx_http_module]->main_conf[ngx_http_dyups_module]->dy_upstreams[{}].pool",
            generation.slot
        );
        assert_eq!(pool.path, path);
        assert_eq!(pool.module.as_deref(), Some("ngx_http_dyups_module"));
        assert!(pool.inferred && !pool.by_container);
    }
}

fn show(found: &Exploration, elapsed: Duration) {
    println!(
        "{} pools, {} chunks, {} objects in {elapsed:?}, {:?}",
        found.pools.len(),
        found.chunks.len(),
        found.objects,
        found.problems
    );
}

#[test]
fn dyups_comes_out_right_by_its_types_alone() {
    let nginx = Nginx::builder().start().unwrap();
    let leak = Leak::run(&nginx, &LeakPlan::new(100, 100), |_| ()).unwrap();
    let stated = generations(&nginx);
    let worker = Worker::of(&nginx);
    let found = worker.explore();
    assert_eq!(found.problems, Vec::<String>::new());
    check_generations(&found, &stated);
    // Nothing of this worker is out of reach.
    let pools = by_address(&found);
    let missed: Vec<_> = worker.snapshot.pools.iter().filter(|pool| !pools.contains_key(&pool.address.0)).collect();
    assert!(missed.is_empty(), "{missed:?}");
    drop(leak);
}

#[test]
fn the_full_size_leak_is_explored_in_a_moment() {
    let nginx = Nginx::builder().start().unwrap();
    let leak = Leak::run(&nginx, &LeakPlan::full_size(), |_| ()).unwrap();
    let stated = generations(&nginx);
    let worker = Worker::of(&nginx);
    let started = Instant::now();
    worker.debug.catalogue().unwrap();
    println!("catalogue in {:?}", started.elapsed());
    let started = Instant::now();
    let found = worker.explore();
    show(&found, started.elapsed());
    assert_eq!(stated.len(), 1120);
    check_generations(&found, &stated);
    // The millions of peers are not walked, and the rest of the worker is.
    assert!(found.objects < 100_000, "{} objects", found.objects);
    drop(leak);
}

/// The last step of the path to each habit's pools, and whether a type on the way must be inferred.
const HABITS: [(&str, &str); 10] = [
    ("static", "habits_static_pool (ngx_http_habits_pointers.c)"),
    ("location", "->loc_conf[ngx_http_habits_module]->pool"),
    ("array", "->main_conf[ngx_http_habits_module]->entries[#].pool"),
    ("queue", "->main_conf[ngx_http_habits_module]->jobs[#].pool"),
    ("rbtree", "->main_conf[ngx_http_habits_module]->leases[#].pool"),
    ("opaque", "->main_conf[ngx_http_habits_module]->opaque)->pool"),
    ("list", "->main_conf[ngx_http_habits_module]->tickets[#].pool"),
    ("hash", "->main_conf[ngx_http_habits_module]->table[#]"),
    ("malloced", "habits_records"),
    ("timer", "((ngx_http_habits_alarm_t *) ngx_event_timer_rbtree[#].data)->pool"),
];

/// The path with every number replaced.
fn without_numbers(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| match part.split_once(']') {
        Some((index, rest)) if index.bytes().all(|byte| byte.is_ascii_digit()) => format!("{text}[#]{rest}"),
        _ => format!("{text}[{part}"),
    })
}

#[test]
fn every_habit_of_an_unusual_module_is_named() {
    let nginx = Nginx::builder().start().unwrap();
    for habit in ["static", "location", "opaque"] {
        nginx.make_habit(habit, 1).unwrap();
    }
    for habit in ["array", "queue", "rbtree", "list", "hash", "malloced", "timer", "leaked"] {
        nginx.make_habit(habit, 100).unwrap();
    }
    let stated = nginx.habits().unwrap();
    let found = Worker::of(&nginx).explore();
    assert_eq!(found.problems, Vec::<String>::new());
    let pools = by_address(&found);
    for habit in &stated {
        let pool = pools.get(&habit.pool);
        let Some((_, wanted)) = HABITS.iter().find(|(name, _)| *name == habit.habit) else {
            assert!(pool.is_none(), "{pool:?} leads to a pool that nothing keeps");
            continue;
        };
        let path = without_numbers(&pool.unwrap_or_else(|| panic!("{habit:?} was not found")).path);
        assert!(path.contains(wanted), "{path} is not {wanted}");
    }
}
