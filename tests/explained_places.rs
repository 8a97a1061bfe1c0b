//! Any address of a real worker has an answer, and what points there has a name: told of the live process and of its core.

use poolscope::analysis::{Options, Silent, explain_core, explain_live};
use poolscope::debug::SearchOptions;
use poolscope::malloc::chunk::ChunkState;
use poolscope::snapshot::explanation::{Explanation, Referrer};
use poolscope::snapshot::model::Snapshot;
use poolscope_fixtures::{MIXED, Nginx, cores};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::path::PathBuf;

fn options() -> Options {
    Options { debug: SearchOptions::from_environment(), with_chunks: true, ..Options::default() }
}

/// A worker with shared memory zones of its own, of 1 MiB each.
fn start() -> (Nginx, i32) {
    let nginx = Nginx::builder().config(MIXED).start().unwrap();
    let pid = nginx.worker_pid().unwrap() as i32;
    (nginx, pid)
}

fn explain(pid: i32, addresses: &[u64]) -> (Snapshot, Vec<Explanation>) {
    explain_live(pid, addresses, &options(), &Silent).unwrap()
}

/// Explains the same of a core of the worker as it is now.
fn explain_in_core(pid: i32, addresses: &[u64], name: &str) -> Vec<Explanation> {
    let folder: PathBuf = std::env::temp_dir().join(format!("poolscope-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let core = cores::gcore(pid as u32, &folder).unwrap();
    let (_, explained) = explain_core(&core, addresses, &options(), &Silent).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    explained
}

/// First and last address of each mapping whose line of maps is as wanted; there is one.
fn mappings(pid: i32, is_wanted: impl Fn(&str) -> bool) -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let found: Vec<(u64, u64)> = maps.lines().filter(|line| is_wanted(line)).map(range).collect();
    assert!(!found.is_empty(), "no such mapping in\n{maps}");
    found
}

fn mapping(pid: i32, is_wanted: impl Fn(&str) -> bool) -> (u64, u64) {
    mappings(pid, is_wanted)[0]
}

fn range(line: &str) -> (u64, u64) {
    let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
    (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap())
}

/// The stack pointer of a thread that waits in the kernel.
fn stack_pointer(pid: i32, thread: i32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{pid}/task/{thread}/syscall")).unwrap();
    let word = line.split_whitespace().rev().nth(1).unwrap();
    u64::from_str_radix(word.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn other_thread(pid: i32) -> i32 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let ids = tasks.map(|task| task.unwrap().file_name().to_str().unwrap().parse::<i32>().unwrap());
    ids.into_iter().find(|id| *id != pid).unwrap()
}

fn of_state(snapshot: &Snapshot, state: ChunkState) -> u64 {
    let mut chunks = snapshot.chunks.as_ref().unwrap().iter();
    chunks.find(|chunk| chunk.state == state && chunk.size >= 64).unwrap().address
}

fn referrers(explanation: &Explanation) -> &[Referrer] {
    &explanation.referrers.as_ref().unwrap().list
}

/// Addresses of every sort, with what must be said of each.
fn places(pid: i32, snapshot: &Snapshot) -> Vec<(u64, Vec<String>)> {
    let is_zone = |line: &str| line.contains("rw-s") && line.contains("/dev/zero") && size(line) == 1 << 20;
    let zones = mappings(pid, is_zone);
    let stack = mapping(pid, |line| line.contains("[stack]"));
    let (pointer, thread) = (stack_pointer(pid, pid), other_thread(pid));
    let pool = snapshot.pools.iter().find(|pool| pool.owner.kind == "cycle").unwrap().address.0;
    let top = of_state(snapshot, ChunkState::Top);
    let is_of = |file: &'static str, rights: &'static str| {
        move |line: &str| line.contains(rights) && line.rsplit('/').next().unwrap().starts_with(file)
    };
    let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<String>>();
    let mut places = vec![
        (0x10, text(&["nothing is mapped at 0x10"])),
        (stack.1 - 64, text(&["on the stack of the main thread", "above its stack pointer", ": in use"])),
        (pointer - 1024, text(&["on the stack of the main thread, 0x400 below its stack pointer", "not in use"])),
        (pointer, text(&["on the stack of the main thread, at its stack pointer", ": in use"])),
        (
            stack_pointer(pid, thread) + 8,
            vec![format!("on the stack of thread {thread}, 0x8 above its stack pointer"), ": in use".to_owned()],
        ),
        (mapping(pid, |line| line.contains("[vdso]")).0 + 0x10, text(&["in the vdso"])),
        (mapping(pid, is_of("libc.so", "r-xp")).0 + 0x400, text(&["libc.so"])),
        (mapping(pid, is_of("nginx", "r-xp")).0 + 0x400, text(&["nginx"])),
        (pool, text(&["in the ngx_pool_t with which a pool begins"])),
        (pool - 8, text(&["in malloc's header of a chunk (in use), 8 bytes before the chunk's memory"])),
        (pool + 200, text(&["in the first block of a pool"])),
        (top + 32, text(&["in the top chunk of an arena: memory that malloc has not handed out"])),
        (of_state(snapshot, ChunkState::Free) + 8, text(&["in a free chunk: what it holds is left over"])),
        (of_state(snapshot, ChunkState::Tcache) + 8, text(&["in a freed chunk that a thread's cache keeps"])),
    ];
    places
        .extend(zones.iter().map(|(start, _)| (start + 0x40, text(&["in the shared memory zone ", ", 0x40 into it"]))));
    places
}

fn size(line: &str) -> u64 {
    let (start, end) = range(line);
    end - start
}

#[test]
fn any_address_is_told_in_one_sentence_from_process_and_core() {
    let (nginx, pid) = start();
    let (snapshot, _) = explain(pid, &[]);
    let places = places(pid, &snapshot);
    let addresses: Vec<u64> = places.iter().map(|(address, _)| *address).collect();
    let (_, live) = explain(pid, &addresses);
    let of_core = explain_in_core(pid, &addresses, "places");
    for ((address, parts), (live, of_core)) in places.iter().zip(live.iter().zip(&of_core)) {
        for part in parts {
            assert!(live.what.contains(part.as_str()), "{address:#x}: {}, not {part}", live.what);
            assert!(of_core.what.contains(part.as_str()), "{address:#x} in the core: {}, not {part}", of_core.what);
        }
        assert!(live.notes.is_empty() && of_core.notes.is_empty());
    }
    for explained in [&live, &of_core] {
        assert!(explained.iter().any(|explanation| explanation.what.contains("zone addresses, ")));
    }
    drop(nginx);
}

#[test]
fn words_in_the_connections_array_are_named_by_their_fields() {
    let (nginx, pid) = start();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, nginx.ports().api)).unwrap();
    client.write_all(b"POST /list HTTP/1.1\r\nHost: x\r\nContent-").unwrap();
    let request = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (snapshot, _) = explain(pid, &[]);
        snapshot.pools.iter().find(|pool| pool.owner.kind == "request").map(|pool| pool.address.0)
    });
    let request = request.expect("the request has begun");
    let check = |explained: &[Explanation]| {
        let found = referrers(&explained[0]).iter().find(|referrer| {
            let path = referrer.path.as_deref().unwrap_or_default();
            path.starts_with("ngx_cycle->connections[") && path.ends_with("].data")
        });
        let word = found.unwrap_or_else(|| panic!("{:?}", referrers(&explained[0])));
        (word.at.unwrap().0, word.path.clone().unwrap(), word.name.clone())
    };
    let (_, live) = explain(pid, &[request]);
    let (at, path, name) = check(&live);
    assert_eq!(name.as_deref(), Some("connections"));
    let (_, explained) = explain(pid, &[at]);
    let chunk = explained[0].chunk.as_ref().unwrap();
    assert_eq!(explained[0].word.as_deref(), Some(path.as_str()));
    assert_eq!(chunk.path.as_deref(), Some("ngx_cycle->connections"));
    assert_eq!(chunk.type_name.as_deref(), Some("ngx_connection_t"));
    assert_eq!(explained[0].what, "in a chunk in use that is in no pool");
    // The variable ngx_cycle points to the cycle, whose field points to the array: that is in the cycle's pool.
    assert!(referrers(&explained[0]).iter().any(|referrer| referrer.owner == "cycle"));
    let of_core = explain_in_core(pid, &[request, at], "connections");
    assert_eq!(check(&of_core), (at, path.clone(), name));
    assert_eq!(of_core[1].word.as_deref(), Some(path.as_str()));
}

#[test]
fn registers_are_among_those_who_point_there() {
    let (nginx, pid) = start();
    let (snapshot, _) = explain(pid, &[]);
    // A worker that waits has handed the kernel the list to be filled: it stands in a register, and in a variable.
    let list = snapshot.groups.iter().find(|group| group.name == "epoll event list").unwrap().example.0;
    let pointer = stack_pointer(pid, pid);
    let check = |explained: &[Explanation]| {
        let registers = |explanation: &Explanation| -> Vec<String> {
            let found = referrers(explanation).iter().filter(|referrer| referrer.owner == "register");
            found
                .map(|referrer| (referrer.at, referrer.place.clone()))
                .map(|(at, place)| {
                    assert_eq!(at, None);
                    place
                })
                .collect()
        };
        assert!(registers(&explained[0]).contains(&"rsi of the main thread".to_owned()), "{:?}", explained[0]);
        assert!(registers(&explained[1]).contains(&"rsp of the main thread".to_owned()), "{:?}", explained[1]);
        assert!(referrers(&explained[0]).iter().any(|referrer| referrer.place == "event_list"));
        assert!(explained[0].referrers.as_ref().unwrap().threads >= 3, "the worker and its pool of threads");
    };
    let (_, live) = explain(pid, &[list, pointer]);
    check(&live);
    check(&explain_in_core(pid, &[list, pointer], "registers"));
    drop(nginx);
}

#[test]
fn a_field_of_a_variable_has_its_path_and_a_chunk_without_one_its_holder() {
    let (nginx, pid) = start();
    let (snapshot, _) = explain(pid, &[]);
    let held: Vec<u64> = snapshot.groups.iter().map(|group| group.example.0).collect();
    let (_, explained) = explain(pid, &held);
    let told = explained.iter().filter_map(|explanation| explanation.chunk.as_ref());
    let with_path = told.clone().filter(|chunk| chunk.path.is_some()).count();
    let with_holder: Vec<&str> = told.clone().filter_map(|chunk| chunk.holder.as_deref()).collect();
    assert!(with_path >= 4, "the arrays of the cycle at least: {with_path}");
    assert!(!with_holder.is_empty());
    for chunk in told {
        assert!(chunk.path.is_none() || chunk.holder.is_none(), "{chunk:?}");
    }
    assert!(with_holder.iter().all(|text| text.starts_with("pointed to") || *text == "nothing points to it"));
    let in_variables = explained.iter().flat_map(referrers);
    let paths: Vec<&str> = in_variables
        .filter(|referrer| referrer.owner == "variables")
        .filter_map(|referrer| referrer.path.as_deref())
        .collect();
    assert!(
        paths.iter().any(|path| path.contains(['.', '['])),
        "fields of variables, such as main_arena.bins[4]: {paths:?}"
    );
    drop(nginx);
}
