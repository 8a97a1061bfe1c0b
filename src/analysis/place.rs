//! What an address is, in one sentence: there is one for any address.

use super::evidence::StackPlace;
use super::explain::Context;
use super::modules::LoadedModule;
use crate::addr::Addr;
use crate::debug::SymbolKind;
use crate::malloc::chunk::ChunkState;
use crate::snapshot::explanation::{ChunkInfo, Explanation};
use crate::snapshot::human::counted;
use crate::target::maps::{Backing, Mapping};

/// Says what is at an address. What the explanation already tells is relied on.
pub fn sentence(explanation: &Explanation, context: Option<&Context<'_>>) -> String {
    let address = Addr(explanation.address.0);
    if let Some(chunk) = &explanation.chunk {
        return in_chunk(explanation, chunk, context);
    }
    let Some(context) = context else {
        return "in no chunk that the saved snapshot knows".to_owned();
    };
    match context.prepared.maps.at(address) {
        Some(mapping) => in_mapping(mapping, address, context),
        None => format!("nothing is mapped at {address}"),
    }
}

fn in_chunk(explanation: &Explanation, chunk: &ChunkInfo, context: Option<&Context<'_>>) -> String {
    if chunk.offset < 0 {
        let state = chunk.state.name().replace('_', " ");
        let before = counted(chunk.offset.unsigned_abs(), "byte");
        return format!("in malloc's header of a chunk ({state}), {before} before the chunk's memory");
    }
    let pool_header = context.and_then(|context| Some(context.prepared.nginx.as_ref()?.pools.header));
    match (chunk.state, explanation.place_in_pool) {
        (ChunkState::InUse, Some("header")) if pool_header.is_some_and(|size| chunk.offset.unsigned_abs() < size) => {
            "in the ngx_pool_t with which a pool begins".to_owned()
        }
        (ChunkState::InUse, Some("header")) => format!("in the first block of a pool{}", rest_of_block(chunk, context)),
        (ChunkState::InUse, Some("block")) => format!("in a block of a pool{}", rest_of_block(chunk, context)),
        (ChunkState::InUse, Some(_)) => "in a large allocation of a pool".to_owned(),
        (ChunkState::InUse, None) => "in a chunk in use that is in no pool".to_owned(),
        (ChunkState::Tcache, _) => {
            "in a freed chunk that a thread's cache keeps: what it holds is left over".to_owned()
        }
        (ChunkState::Fastbin, _) => "in a freed chunk that a fastbin keeps: what it holds is left over".to_owned(),
        (ChunkState::Free, _) => "in a free chunk: what it holds is left over".to_owned(),
        (ChunkState::Top, _) => "in the top chunk of an arena: memory that malloc has not handed out".to_owned(),
        (ChunkState::Fencepost, _) => {
            "in a fencepost, with which malloc marks the end of a part of an arena".to_owned()
        }
    }
}

/// A block says how far it has been handed out (nginx `ngx_pool_data_t.last`).
fn rest_of_block(chunk: &ChunkInfo, context: Option<&Context<'_>>) -> &'static str {
    let last = context.and_then(|context| {
        let last = context.prepared.nginx.as_ref()?.pools.last;
        context.memory.read_u64(Addr(chunk.address.0) + last).ok()?.checked_sub(chunk.address.0)
    });
    match last {
        Some(last) if chunk.offset.unsigned_abs() >= last && last <= chunk.size => {
            ", in the part of it that the pool has not handed out"
        }
        _ => "",
    }
}

fn in_mapping(mapping: &Mapping, address: Addr, context: &Context<'_>) -> String {
    if let Some(place) = context.evidence.stack_place(mapping, address) {
        return on_stack(place, context);
    }
    let module = context.prepared.modules().find(|module| module.span.contains(address));
    match &mapping.backing {
        Backing::Stack => "on the stack of the main thread, whose stack pointer is not known".to_owned(),
        Backing::Heap => "on the brk heap, in no chunk that the walk over it has found".to_owned(),
        Backing::SharedMemory => match context.evidence.zone_at(address) {
            Some(zone) => {
                let offset = address.0 - zone.memory.start.0;
                format!("in the shared memory zone {}, {offset:#x} into it", zone.name)
            }
            None => "in shared memory of no zone of nginx's".to_owned(),
        },
        Backing::Kernel if mapping.executable => "in the vdso: code that the kernel maps into each process".to_owned(),
        Backing::Kernel => "in data that the kernel maps into each process (vvar)".to_owned(),
        Backing::File { .. } | Backing::Anonymous if module.is_some() => in_module(module, mapping, address, context),
        Backing::File { path, .. } => {
            let offset = mapping.file_offset + (address.0 - mapping.range.start.0);
            format!("in the mapped file {}, at offset {offset:#x} of it", path.display())
        }
        Backing::Anonymous if !mapping.readable => {
            "in address space that nobody may access: a guard page, or what an arena has not used yet".to_owned()
        }
        Backing::Anonymous => "in private memory without a file or a name, in no chunk of malloc's".to_owned(),
    }
}

/// `.bss of nginx`: variables of a file that begin as zero have memory of no file, in the place where the file was loaded.
pub fn bss(mapping: &Mapping, address: Addr, context: &Context<'_>) -> Option<String> {
    let is_data = mapping.backing == Backing::Anonymous && mapping.writable;
    let module = context.prepared.modules().find(|module| is_data && module.span.contains(address))?;
    let file = module.debug.path().file_name()?.to_string_lossy().into_owned();
    Some(format!(".bss of {file}"))
}

fn on_stack(place: StackPlace, context: &Context<'_>) -> String {
    let thread = thread_name(place.thread, context);
    let when = if context.is_still { "" } else { " at the stop" };
    let distance = place.above.unsigned_abs();
    let direction = if place.above < 0 { "below" } else { "above" };
    let use_of_it = match (place.is_in_use(), place.above < 0) {
        (true, false) => "in use",
        (true, true) => "it may be in use, as the red zone",
        (false, _) => "not in use, what it holds is left over from calls that have returned",
    };
    let place = match distance {
        0 => format!("at its stack pointer{when}"),
        _ => format!("{distance:#x} {direction} its stack pointer{when}, {}", place.pointer),
    };
    format!("on the stack of {thread}, {place}: {use_of_it}")
}

/// The thread of that id, in words.
pub fn thread_name(thread: i32, context: &Context<'_>) -> String {
    match thread == context.prepared.process.pid {
        true => "the main thread".to_owned(),
        false => format!("thread {thread}"),
    }
}

fn in_module(module: Option<&LoadedModule>, mapping: &Mapping, address: Addr, context: &Context<'_>) -> String {
    let file = module.map(|module| module.debug.path().display().to_string()).unwrap_or_default();
    if let Some((symbol, offset, _)) = context.prepared.symbol_at(address) {
        let what = match symbol.kind {
            SymbolKind::Function => "function",
            SymbolKind::Object | SymbolKind::ThreadLocal => "variable",
            SymbolKind::Untyped => "symbol",
        };
        let place = if offset == 0 { "at the start of".to_owned() } else { format!("{offset:#x} into") };
        return format!("{place} the {what} {} of {file}", symbol.name);
    }
    if bss(mapping, address, context).is_some() {
        return format!("in variables of {file} (.bss) that no symbol covers");
    }
    let what = match (mapping.executable, mapping.writable) {
        (true, _) => "code",
        (false, true) => "variables",
        (false, false) => "constants",
    };
    format!("in {what} of {file} that no symbol covers")
}
