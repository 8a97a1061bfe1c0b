//! How programs churn, and how they are stopped.

use std::time::Duration;

use poolscope_fixtures::{ChurnCall, ChurnPlan};

pub(crate) struct Mode {
    pub(crate) label: &'static str,
    pub(crate) max_pause: Option<Duration>,
    call: ChurnCall,
    size: Size,
}

enum Size {
    /// Some 10 MB, all of it churning.
    Small,
    /// Some 300 MB, an eighth of the threads' blocks churning: enough for several stops.
    Large,
}

pub(crate) const MODES: &[Mode] = &[
    Mode { label: "one stop, waits", max_pause: None, call: ChurnCall::Wait, size: Size::Small },
    Mode { label: "one stop, other calls", max_pause: None, call: ChurnCall::Other, size: Size::Small },
    Mode { label: "one stop, no calls", max_pause: None, call: ChurnCall::None, size: Size::Small },
    Mode { label: "20 ms", max_pause: Some(Duration::from_millis(20)), call: ChurnCall::Wait, size: Size::Large },
    Mode { label: "5 ms", max_pause: Some(Duration::from_millis(5)), call: ChurnCall::Wait, size: Size::Large },
];

impl Mode {
    pub(crate) fn plan(&self) -> ChurnPlan {
        let call = self.call;
        match self.size {
            Size::Small => ChurnPlan { call, slots: 4_000, churning: 4_000, ..ChurnPlan::default() },
            Size::Large => ChurnPlan {
                call,
                slots: 64_000,
                churning: 8_000,
                resting: 60_000,
                events: 1 << 22,
                ..ChurnPlan::default()
            },
        }
    }
}
