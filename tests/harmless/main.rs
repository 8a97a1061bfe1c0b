//! Whatever becomes of poolscope or of the target in the middle of a snapshot: the target runs on, untraced and unchanged.

#[path = "../../benches/harmless/campaign/mod.rs"]
mod campaign;
mod ends;
mod looks;
mod programs;
mod signals;
mod state;
mod unchanged;
mod upgrades;
