//! What the worker's clients notice: small requests on one connection, about one each millisecond.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::common::Failure;

const INTERVAL: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);
const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Beats before the work begins: for a median where the worker stands still during nearly all of a run.
const LEAD: Duration = Duration::from_millis(200);

/// How long requests took to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Beats {
    pub(crate) median: Duration,
    pub(crate) longest: Duration,
}

impl Beats {
    /// The longest time that the worker let a client wait, beyond the ordinary.
    pub(crate) fn pause(&self) -> Duration {
        self.longest.saturating_sub(self.median)
    }
}

/// Does `work` while requests go to `port`.
pub(crate) fn while_doing<T>(port: u16, work: impl FnOnce() -> T) -> Result<(T, Beats), Failure> {
    let mut client = Client::connect(port)?;
    let over = AtomicBool::new(false);
    let (answer, times) = std::thread::scope(|scope| {
        let beating = scope.spawn(|| client.beat(&over));
        std::thread::sleep(LEAD);
        let answer = work();
        over.store(true, Ordering::Relaxed);
        (answer, beating.join())
    });
    let mut times = times.map_err(|_| "the heartbeat's thread panicked")??;
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(&median), Some(&longest)) => Ok((answer, Beats { median, longest })),
        _ => Err("not one request was answered".into()),
    }
}

struct Client {
    stream: TcpStream,
    buffer: [u8; 4096],
}

impl Client {
    fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, buffer: [0; 4096] })
    }

    fn beat(&mut self, over: &AtomicBool) -> io::Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(8192);
        while !over.load(Ordering::Relaxed) {
            let start = Instant::now();
            self.request()?;
            times.push(start.elapsed());
            std::thread::sleep(INTERVAL.saturating_sub(start.elapsed()));
        }
        Ok(times)
    }

    fn request(&mut self) -> io::Result<()> {
        self.stream.write_all(REQUEST)?;
        let mut length = 0;
        while !self.buffer[..length].ends_with(b"small body\n") {
            match self.stream.read(&mut self.buffer[length..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => length += more,
            }
        }
        if self.buffer.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(io::Error::other("the worker did not answer a small request with status 200"))
    }
}
