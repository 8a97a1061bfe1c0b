//! A client that never rests for long: small answers, and files that the worker's thread pool reads.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const REST: Duration = Duration::from_millis(3);
const PATIENCE: Duration = Duration::from_secs(30);
/// Then the next connection is made: nginx ends one after a million requests (`keepalive_requests` of the fixtures), to which half
/// an hour comes.
const REQUESTS_OF_A_CONNECTION: u64 = 100_000;
const PATHS: [&str; 2] = ["/small", "/files/small.txt"];

/// Requests one after the other, on connections that stay, until this is dropped.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    client: Option<JoinHandle<io::Result<()>>>,
}

impl Load {
    /// Begins.
    pub(crate) fn start(port: u16) -> io::Result<Load> {
        let over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut stream = connect(port)?;
        let (ends, counts) = (over.clone(), answered.clone());
        let client = std::thread::spawn(move || {
            let mut left = REQUESTS_OF_A_CONNECTION;
            while !ends.load(Ordering::Relaxed) {
                if left == 0 {
                    (stream, left) = (connect(port)?, REQUESTS_OF_A_CONNECTION);
                }
                for path in PATHS {
                    request(&mut stream, path, "keep-alive")?;
                    counts.fetch_add(1, Ordering::Relaxed);
                }
                left = left.saturating_sub(PATHS.len() as u64);
                std::thread::sleep(REST);
            }
            Ok(())
        });
        Ok(Load { over, answered, client: Some(client) })
    }

    /// How many requests were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Whether one has failed, which ends the load.
    pub(crate) fn has_failed(&self) -> bool {
        self.client.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        self.over.store(true, Ordering::Relaxed);
        match self.client.take().map(JoinHandle::join) {
            Some(Ok(Err(cause))) => Err(format!("a request failed: {cause}")),
            Some(Err(_)) => Err("the client panicked".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}

/// How long a new client waits for a small answer, its connection included.
pub(crate) fn answer_time(port: u16) -> io::Result<Duration> {
    let begin = Instant::now();
    request(&mut connect(port)?, PATHS[0], "close")?;
    Ok(begin.elapsed())
}

fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends one request, and reads its answer, which is short and ends in a line break like its head.
fn request(stream: &mut TcpStream, path: &str, connection: &str) -> io::Result<()> {
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 2048];
    while !is_whole(&answer) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => answer.extend_from_slice(&buffer[..more]),
        }
    }
    match answer.starts_with(b"HTTP/1.1 200 ") {
        true => Ok(()),
        false => Err(io::Error::other(format!("{path}: {:?}", String::from_utf8_lossy(&answer)))),
    }
}

fn is_whole(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n");
    head.is_some_and(|head| answer.len() > head + 4 && answer.ends_with(b"\n"))
}
