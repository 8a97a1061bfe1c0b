//! Where a thread stands when it is stopped: its program counter and its stack tell whether the heap is whole.

use poolscope::addr::{AddrRange, LoadBias};
use poolscope::debug::{Binary, Code, DebugInfo, SearchOptions, StackEnd, walk_stack};
use poolscope::malloc::allocator::is_glibc;
use poolscope::target::freeze::{Freeze, Patience};
use poolscope::target::live::LiveMemory;
use poolscope::target::maps::Maps;
use poolscope::target::modules::{Module, open_executable, open_library};
use poolscope_fixtures::Nginx;
use std::sync::Arc;

fn code(module: Module) -> Code {
    let (start, _) = *module.mappings.iter().find(|(_, offset)| *offset == 0).unwrap();
    let debug = Binary { file: module.file, path: module.path };
    let debug = DebugInfo::load(&debug, &SearchOptions::from_environment()).unwrap();
    // Both are position-independent: their first segment is for address 0.
    assert_eq!(debug.segments()[0].address.0, 0);
    let end = debug.segments().iter().map(|segment| start + segment.address.0 + segment.memory_size).max().unwrap();
    Code { debug: Arc::new(debug), bias: LoadBias(start.0), span: AddrRange::new(start, end) }
}

#[test]
fn the_stack_of_an_idle_worker_is_walked_to_its_outermost_function() {
    let nginx = Nginx::builder().start().unwrap();
    let pid = nginx.worker_pid().unwrap() as i32;
    let maps = Maps::read(pid).unwrap();
    let modules = [open_executable(pid, &maps).unwrap(), open_library(pid, &maps, is_glibc).unwrap().unwrap()];
    let code = modules.map(code);
    let memory = LiveMemory::open(pid).unwrap();
    let freeze = Freeze::stop(pid, Patience::default()).unwrap();
    let walk = walk_stack(&freeze.registers()[0], &memory, &code);
    freeze.release();
    assert_eq!(walk.end, StackEnd::Outermost);
    let name = |frame: &_| {
        let code = code.iter().find(|code| code.span.contains(*frame)).unwrap();
        code.debug.symbol_at(code.bias.to_file(*frame)).unwrap().0.name
    };
    let names: Vec<String> = walk.frames.iter().map(name).collect();
    let expected = [
        "ngx_epoll_process_events",
        "ngx_process_events_and_timers",
        "ngx_worker_process_cycle",
        "ngx_spawn_process",
        "ngx_start_worker_processes",
        "ngx_master_process_cycle",
        "main",
    ];
    let begin = names.iter().position(|name| name == expected[0]).unwrap();
    assert_eq!(names[begin..begin + expected.len()], expected);
    assert_eq!(names.last().map(String::as_str), Some("_start"));
}
