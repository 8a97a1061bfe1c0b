//! Who called whom: a thread's stack, by the call frame information of the code that it runs (`.eh_frame`, which is also in
//! stripped binaries; DWARF 5, 6.4).

use super::DebugInfo;
use super::elf::ElfFile;
use super::file::Slice;
use crate::addr::{Addr, AddrRange, FileAddr, LoadBias};
use crate::target::memory::Memory;
use crate::target::registers::{DWARF_STACK_POINTER, ThreadRegisters};
use gimli::{
    BaseAddresses, CfaRule, EhFrame, EhFrameHdr, Encoding, EvaluationResult, LittleEndian, Pointer, Register,
    RegisterRule, UnwindContext, UnwindExpression, UnwindSection, Value,
};
use std::sync::Arc;

/// More frames than this are not followed. nginx's stacks have some twenty; deep recursion is PCRE's or Lua's.
const MOST_FRAMES: usize = 512;

/// Steps of an expression in call frame information; real ones have less than ten.
const MOST_STEPS: u32 = 100;

/// Code of the target that has call frame information.
#[derive(Debug, Clone)]
pub struct Code {
    /// The file that it is of.
    pub debug: Arc<DebugInfo>,
    /// What was added to its addresses.
    pub bias: LoadBias,
    /// Where it lies in the running process.
    pub span: AddrRange,
}

/// The functions that a thread is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackWalk {
    /// A running address within each, the innermost first: where it stands, or within the call that it has made.
    pub frames: Vec<Addr>,
    /// How far the walk came.
    pub end: StackEnd,
}

/// Where a walk of a stack ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StackEnd {
    /// At the function that the thread began with.
    Outermost,
    /// At code of which it is not known who called it (the kernel's vdso, what LuaJIT has compiled). What lies from this
    /// running address on belongs to the functions that are missing; `None` if not even that is known.
    Lost(Option<Addr>),
}

/// Walks the stack of a thread that stands still.
pub fn walk_stack(registers: &ThreadRegisters, memory: &impl Memory, code: &[Code]) -> StackWalk {
    let mut frames = Vec::new();
    let Some(place) = registers.program_counter() else { return StackWalk { frames, end: StackEnd::Lost(None) } };
    let mut frame = Frame { registers: registers.by_dwarf_number(), place, is_exact: true };
    let mut context = UnwindContext::new();
    loop {
        let at = frame.address_within();
        frames.push(at);
        let lost = StackEnd::Lost(frame.stack_pointer().map(Addr));
        let module = code.iter().find(|code| code.span.contains(at));
        let caller = module.and_then(|module| frame.caller(module, memory, &mut context));
        match caller {
            Some(Caller::None) => return StackWalk { frames, end: StackEnd::Outermost },
            // A stack grows downwards: a caller whose frame does not lie above is not believed.
            Some(Caller::Frame(next)) if frames.len() < MOST_FRAMES && next.stack_pointer() > frame.stack_pointer() => {
                frame = next;
            }
            _ => return StackWalk { frames, end: lost },
        }
    }
}

/// Reads a byte of each page of a file's tables.
pub(super) fn touch(file: &ElfFile) {
    const PAGE: usize = 4096;
    let Some(header) = file.frames.as_ref() else { return };
    // The table of frames follows its header, or lies near: in the same segment.
    let bytes = file.bytes_from(header.address).unwrap_or_default();
    let length = bytes.len().min(MOST_TABLES);
    for byte in bytes.iter().take(length).step_by(PAGE) {
        std::hint::black_box(*byte);
    }
}

/// Bytes of tables that are read beforehand, at most.
const MOST_TABLES: usize = 2 << 20;

/// A function that a thread is in.
struct Frame {
    /// By DWARF number; `None` where a callee has not kept it.
    registers: Vec<Option<u64>>,
    place: Addr,
    /// True if it stands right there; false if that is where it goes on after a call, which may be the first instruction of
    /// another function if the callee never returns.
    is_exact: bool,
}

enum Caller {
    /// Nobody.
    None,
    Frame(Frame),
}

impl Frame {
    fn address_within(&self) -> Addr {
        if self.is_exact { self.place } else { Addr(self.place.0.wrapping_sub(1)) }
    }

    fn stack_pointer(&self) -> Option<u64> {
        self.get(Register(DWARF_STACK_POINTER))
    }

    fn get(&self, register: Register) -> Option<u64> {
        self.registers.get(usize::from(register.0)).copied().flatten()
    }

    /// Who called this function; `None` if that cannot be told.
    fn caller(&self, code: &Code, memory: &impl Memory, context: &mut UnwindContext<usize>) -> Option<Caller> {
        let tables = Tables::of(&code.debug)?;
        let header = EhFrameHdr::new(tables.header, LittleEndian).parse(&tables.bases, 8).ok()?;
        let Pointer::Direct(frames_at) = header.eh_frame_ptr() else { return None };
        let bases = tables.bases.clone().set_eh_frame(frames_at);
        let frames = EhFrame::new(code.debug.binary.bytes_from(FileAddr(frames_at))?, LittleEndian);
        let address = code.bias.to_file(self.address_within()).0;
        let cie = EhFrame::cie_from_offset;
        let entry = header.table()?.fde_for_address(&frames, &bases, address, cie).ok()?;
        let row = entry.unwind_info_for_address(&frames, &bases, context, address).ok()?;
        let scene = Scene { frame: self, frames: &frames, encoding: entry.cie().encoding(), memory };
        let cfa = scene.cfa(row.cfa())?;
        let return_address = entry.cie().return_address_register();
        if row.register(return_address) == Some(RegisterRule::Undefined) {
            return Some(Caller::None);
        }
        let mut registers: Vec<Option<u64>> = (0..self.registers.len() as u16)
            .map(|number| scene.value(row.register(Register(number)), Register(number), cfa))
            .collect();
        let place = scene.value(row.register(return_address), return_address, cfa)?;
        if row.register(Register(DWARF_STACK_POINTER)).is_none() {
            *registers.get_mut(usize::from(DWARF_STACK_POINTER))? = Some(cfa);
        }
        // A thread's first function has no caller.
        match place {
            0 => Some(Caller::None),
            _ => Some(Caller::Frame(Frame { registers, place: Addr(place), is_exact: entry.is_signal_trampoline() })),
        }
    }
}

/// A module's tables.
struct Tables<'a> {
    header: &'a [u8],
    bases: BaseAddresses,
}

impl<'a> Tables<'a> {
    fn of(debug: &'a DebugInfo) -> Option<Tables<'a>> {
        let segment = debug.binary.frames.as_ref()?;
        let header = debug.binary.bytes_from(segment.address)?;
        Some(Tables { header, bases: BaseAddresses::default().set_eh_frame_hdr(segment.address.0) })
    }
}

/// What rules are about.
struct Scene<'a, M> {
    frame: &'a Frame,
    frames: &'a EhFrame<Slice<'a>>,
    encoding: Encoding,
    memory: &'a M,
}

impl<M: Memory> Scene<'_, M> {
    /// The canonical frame address: where the stack pointer of the caller is once this function has returned.
    fn cfa(&self, rule: &CfaRule<usize>) -> Option<u64> {
        match rule {
            CfaRule::RegisterAndOffset { register, offset } => {
                self.frame.get(*register).map(|base| base.wrapping_add_signed(*offset))
            }
            CfaRule::Expression(expression) => self.evaluate(expression, None),
        }
    }

    /// What was in a register when the caller made its call.
    fn value(&self, rule: Option<RegisterRule<usize>>, register: Register, cfa: u64) -> Option<u64> {
        let load = |address: u64| self.memory.read_u64(Addr(address)).ok();
        match rule {
            None | Some(RegisterRule::SameValue) => self.frame.get(register),
            Some(RegisterRule::Offset(offset)) => load(cfa.wrapping_add_signed(offset)),
            Some(RegisterRule::ValOffset(offset)) => Some(cfa.wrapping_add_signed(offset)),
            Some(RegisterRule::Register(other)) => self.frame.get(other),
            Some(RegisterRule::Expression(expression)) => self.evaluate(&expression, Some(cfa)).and_then(load),
            Some(RegisterRule::ValExpression(expression)) => self.evaluate(&expression, Some(cfa)),
            Some(RegisterRule::Constant(value)) => Some(value),
            _ => None,
        }
    }

    fn evaluate(&self, expression: &UnwindExpression<usize>, initial: Option<u64>) -> Option<u64> {
        let mut evaluation = expression.get(self.frames).ok()?.evaluation(self.encoding);
        evaluation.set_max_iterations(MOST_STEPS);
        if let Some(value) = initial {
            evaluation.set_initial_value(value);
        }
        let mut state = evaluation.evaluate().ok()?;
        loop {
            state = match state {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    evaluation.resume_with_register(Value::Generic(self.frame.get(register)?)).ok()?
                }
                EvaluationResult::RequiresMemory { address, .. } => {
                    evaluation.resume_with_memory(Value::Generic(self.memory.read_u64(Addr(address)).ok()?)).ok()?
                }
                _ => return None,
            };
        }
        evaluation.value_result()?.to_u64(u64::MAX).ok()
    }
}
