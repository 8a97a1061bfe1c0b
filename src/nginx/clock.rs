//! nginx's own clocks: by these it knows how old its connections and requests are.

use super::fields::{Fields, pointer, word};
use super::owner::NginxModule;
use crate::addr::Addr;
use crate::target::memory::Memory;

/// Where the clocks are (nginx `src/core/ngx_times.c`).
pub struct Clock {
    /// The variable `ngx_current_msec`: milliseconds on a clock that never jumps.
    monotonic: Option<Addr>,
    /// The variable `ngx_cached_time`, a pointer to seconds since 1970 and milliseconds.
    wall: Option<Addr>,
    seconds: Option<u64>,
    milliseconds: Option<u64>,
}

/// What time it was for nginx when it stopped: that of its last wait for events.
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
        }
    }

    /// One that knows nothing.
    #[cfg(test)]
    pub fn unknown() -> Clock {
        Clock { monotonic: None, wall: None, seconds: None, milliseconds: None }
    }

    /// Reads them.
    pub fn read(&self, memory: &dyn Memory) -> Now {
        let monotonic = self.monotonic.and_then(|clock| memory.read_u64(clock).ok());
        let time = self.wall.and_then(|wall| pointer(memory, wall, Some(0)));
        let wall = time.and_then(|time| {
            wall_milliseconds(word(memory, time, self.seconds)?, word(memory, time, self.milliseconds)?)
        });
        Now { monotonic: monotonic.filter(|time| *time > 0), wall }
    }
}

impl Now {
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
    fn ages_that_cannot_be_are_not_told() {
        let now = Now { monotonic: Some(5000), wall: Some(1_700_000_000_000) };
        assert_eq!((now.since(2000), now.since(0), now.since(5001)), (Some(3000), None, None));
        assert_eq!(now.since_wall(1_699_999_998, 500), Some(1500));
        assert_eq!(now.since_wall(u64::MAX, 0), None);
        assert_eq!(now.since_wall(0, 0), None);
        assert_eq!(Now::default().since(1), None);
    }
}
