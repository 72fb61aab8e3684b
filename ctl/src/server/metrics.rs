//! The HTTP endpoint that Prometheus scrapes: `GET /metrics`, one answer per connection.
//!
//! It shows counters and names of objects to whoever reaches its address, so there is none unless
//! the node file names one. Connections are few and short, and none holds anything up.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use encap::Buffer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

use super::{Commits, SharedEngine, lock, rules};
use crate::metrics::{Format, page};
use crate::proto::StatsResponse;

/// Connections at a time; further ones wait in the listener's queue.
const CONNECTIONS: usize = 8;
/// Longest time for a request and for an answer to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest request.
const MAX_REQUEST: usize = 8 << 10;

/// The endpoint; it ends when this is dropped.
pub struct Metrics {
    task: JoinHandle<()>,
    addr: SocketAddr,
}

impl Metrics {
    /// Answers on `addr` from now on.
    ///
    /// # Errors
    /// What the system said when the address could not be listened on.
    pub async fn start<B: Buffer + Send + 'static>(
        addr: SocketAddr,
        commits: &Commits<B>,
    ) -> io::Result<Metrics> {
        let listener = TcpListener::bind(addr).await?;
        let addr = listener.local_addr()?;
        let task = tokio::spawn(run(listener, commits.engine().clone()));
        Ok(Metrics { task, addr })
    }

    /// Where it answers.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Metrics {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<B: Buffer + Send + 'static>(listener: TcpListener, engine: SharedEngine<B>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: they come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let engine = engine.clone();
        tokio::spawn(async move {
            // Who is too slow, or gone, hears nothing more.
            _ = timeout(PATIENCE, answer(stream, engine)).await;
            drop(place);
        });
    }
}

async fn answer<B: Buffer + Send + 'static>(
    mut stream: TcpStream,
    engine: SharedEngine<B>,
) -> io::Result<()> {
    let request = read_head(&mut stream).await?;
    let response = match Asked::of(&request) {
        Asked::Metrics(format) => {
            let read = spawn_blocking(move || stats(&engine)).await;
            match read.ok().flatten() {
                Some(stats) => response("200 OK", format.content_type(), &page(&stats, format)),
                None => plain("503 Service Unavailable", "vrouterd is stopping\n"),
            }
        }
        Asked::Elsewhere => plain("404 Not Found", "the metrics are at /metrics\n"),
        Asked::Otherwise => plain("405 Method Not Allowed", "only GET is answered\n"),
    };
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

/// The counters, those of rules too.
fn stats<B: Buffer + Send + 'static>(engine: &SharedEngine<B>) -> Option<StatsResponse> {
    let (stats, tables, flows) = {
        let engine = lock(engine);
        let engine = engine.as_ref()?;
        (engine.stats(), engine.tables(), engine.flows().clone())
    };
    let mut stats = StatsResponse::from(stats);
    // All flows are gone through for them.
    if tables.rules().next().is_some() {
        stats.rules = rules::stats(&tables, &flows);
    }
    Some(stats)
}

/// Everything up to the empty line.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut some = [0; 1024];
        let n = stream.read(&mut some).await?;
        head.extend_from_slice(&some[..n]);
        if n == 0 || head.len() > MAX_REQUEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(head)
}

/// What a request is for (RFC 9112 §3).
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Metrics(Format),
    Elsewhere,
    Otherwise,
}

impl Asked {
    fn of(head: &[u8]) -> Asked {
        let head = String::from_utf8_lossy(head);
        let mut lines = head.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        if words.next() != Some("GET") {
            return Asked::Otherwise;
        }
        let path = words.next().unwrap_or_default();
        if path.split('?').next() != Some("/metrics") {
            return Asked::Elsewhere;
        }
        let wants_open = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or_default();
            name.eq_ignore_ascii_case("accept") && value.contains("application/openmetrics-text")
        };
        match lines.any(wants_open) {
            true => Asked::Metrics(Format::OpenMetrics),
            false => Asked::Metrics(Format::Prometheus),
        }
    }
}

fn plain(status: &str, body: &str) -> String {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len}\r\n\
         Connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        let of = |head: &str| Asked::of(head.as_bytes());
        let plain = Asked::Metrics(Format::Prometheus);
        assert_eq!(of("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), plain);
        assert_eq!(of("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), plain);
        let open =
            "GET /metrics HTTP/1.1\r\naccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
        assert_eq!(of(open), Asked::Metrics(Format::OpenMetrics));
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Asked::Elsewhere);
        assert_eq!(of("POST /metrics HTTP/1.1\r\n\r\n"), Asked::Otherwise);
        assert_eq!(of("\r\n\r\n"), Asked::Otherwise);
    }
}
