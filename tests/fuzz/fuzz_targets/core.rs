#![no_main]

#[global_allocator]
static MEMORY: poolscope_fuzz::bounded::Bounded = poolscope_fuzz::bounded::Bounded;

libfuzzer_sys::fuzz_target!(|data: &[u8]| poolscope_fuzz::core::run(data));
