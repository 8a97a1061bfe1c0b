//! nginx's own clocks: by these it knows how old its connections and requests are.

use super::fields::{Fields, pointer, word};
use super::owner::NginxModule;
use crate::addr::Addr;
use crate::target::memory::Memory;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the clocks are (nginx `src/core/ngx_times.c`).
pub struct Clock {
    /// The variable `ngx_current_msec`: milliseconds on a clock that never jumps.
    monotonic: Option<Addr>,
    /// The variable `ngx_cached_time`, a pointer to seconds since 1970 and milliseconds.
    wall: Option<Addr>,
    seconds: Option<u64>,
    milliseconds: Option<u64>,
    /// True if the machine's clock tells what time it is for nginx too.
    runs: bool,
}

/// What time it was when nginx stopped. Its own clocks stand still while it waits for events: a worker with nothing but idle
/// websockets can be minutes behind. Of a process that runs they are set to the machine's; of a core they are all there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on the clock of `ngx_current_msec`.
    pub monotonic: Option<u64>,
    /// Milliseconds since 1970.
    pub wall: Option<u64>,
}

impl Clock {
    /// Finds the clocks.
    pub fn of(nginx: NginxModule<'_>) -> Clock {
        let time = Fields::of(nginx, "ngx_time_t");
        Clock {
            monotonic: nginx.variable("ngx_current_msec"),
            wall: nginx.variable("ngx_cached_time"),
            seconds: time.offset("sec"),
            milliseconds: time.offset("msec"),
            runs: nginx.runs,
        }
    }

    /// One that knows nothing.
    #[cfg(test)]
    pub fn unknown() -> Clock {
        Clock { monotonic: None, wall: None, seconds: None, milliseconds: None, runs: false }
    }

    /// Reads them.
    pub fn read(&self, memory: &dyn Memory) -> Now {
        let monotonic = self.monotonic.and_then(|clock| memory.read_u64(clock).ok());
        let time = self.wall.and_then(|wall| pointer(memory, wall, Some(0)));
        let wall = time.and_then(|time| {
            wall_milliseconds(word(memory, time, self.seconds)?, word(memory, time, self.milliseconds)?)
        });
        let now = Now { monotonic: monotonic.filter(|time| *time > 0), wall };
        if self.runs { now.at(machine_milliseconds()) } else { now }
    }
}

/// Milliseconds since 1970 by the machine's clock.
fn machine_milliseconds() -> Option<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    u64::try_from(now.as_millis()).ok()
}

impl Now {
    /// The same clocks, set on to `machine`, milliseconds since 1970: by as much as they are behind. A clock that was set
    /// back in the meantime tells nothing.
    fn at(self, machine: Option<u64>) -> Now {
        let behind = machine.zip(self.wall).and_then(|(machine, wall)| machine.checked_sub(wall)).unwrap_or(0);
        let on = |time: u64| time.saturating_add(behind);
        Now { monotonic: self.monotonic.map(on), wall: self.wall.map(on) }
    }

    /// Age in milliseconds of what began at `start` on the clock of `ngx_current_msec`; 0 stands for not known.
    pub fn since(self, start: u64) -> Option<u64> {
        self.monotonic?.checked_sub(start).filter(|_| start > 0)
    }

    /// The same of what began at that second since 1970, and millisecond of it.
    pub fn since_wall(self, seconds: u64, milliseconds: u64) -> Option<u64> {
        self.wall?.checked_sub(wall_milliseconds(seconds, milliseconds)?).filter(|_| seconds > 0)
    }
}

fn wall_milliseconds(seconds: u64, milliseconds: u64) -> Option<u64> {
    seconds.checked_mul(1000)?.checked_add(milliseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_stood_still_are_set_on() {
        let now = Now { monotonic: Some(500), wall: Some(1_000_000) };
        assert_eq!(now.at(Some(1_060_000)), Now { monotonic: Some(60_500), wall: Some(1_060_000) });
        assert_eq!(now.at(Some(900_000)), now);
        assert_eq!(now.at(None), now);
        let blind = Now { monotonic: Some(500), wall: None };
        assert_eq!(blind.at(Some(1_060_000)), blind);
    }

    #[test]
    fn ages_that_cannot_be_are_not_told() {
        let now = Now { monotonic: Some(5000), wall: Some(1_700_000_000_000) };
        assert_eq!((now.since(2000), now.since(0), now.since(5001)), (Some(3000), None, None));
        assert_eq!(now.since_wall(1_699_999_998, 500), Some(1500));
        assert_eq!(now.since_wall(u64::MAX, 0), None);
        assert_eq!(now.since_wall(0, 0), None);
        assert_eq!(Now::default().since(1), None);
    }
}
