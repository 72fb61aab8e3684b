//! Traffic that checks itself: a TCP stream with a checksum at both ends, and
//! numbered UDP packets at a steady pace.

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use sha2::{Digest, Sha256};

use crate::machine::{Family, Machine};

/// No progress for so long is a failure.
const STALLED: Duration = Duration::from_secs(20);
const CHUNK: usize = 256 << 10;

/// A TCP transfer as both ends saw it.
#[derive(Clone, Debug)]
pub struct Transfer {
    /// SHA-256 of what was written, in hex.
    pub sent: String,
    /// SHA-256 of what was read, in hex.
    pub received: String,
    /// From the first byte to the last.
    pub seconds: f64,
}

/// Sends `len` bytes that look random from one machine to another.
///
/// # Panics
/// If the connection is refused, breaks or stalls.
pub fn tcp(from: &Machine, to: &Machine, family: Family, len: usize) -> Transfer {
    let address = to.address(family);
    let listener = to.namespace.within(|| TcpListener::bind((address, 0)));
    let listener = listener.expect("the machine has this address");
    let port = listener.local_addr().expect("it is bound").port();
    let mut writer = from
        .namespace
        .within(|| TcpStream::connect_timeout(&(address, port).into(), STALLED))
        .unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
    let (mut reader, _) = listener.accept().expect("a connection is waiting");
    writer.set_write_timeout(Some(STALLED)).expect("not zero");
    reader.set_read_timeout(Some(STALLED)).expect("not zero");
    let start = Instant::now();
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || write_stream(&mut writer, len));
        let received = read_stream(&mut reader);
        Transfer {
            sent: sent
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            received,
            seconds: start.elapsed().as_secs_f64(),
        }
    })
}

fn write_stream(stream: &mut TcpStream, len: usize) -> String {
    let mut sum = Sha256::new();
    let mut random = Random(len as u64);
    let mut buf = vec![0; CHUNK];
    let mut left = len;
    while left > 0 {
        for word in buf.chunks_exact_mut(8) {
            word.copy_from_slice(&random.next().to_le_bytes());
        }
        let part = &buf[..left.min(CHUNK)];
        stream
            .write_all(part)
            .unwrap_or_else(|e| panic!("sending, {left} bytes to go: {e}"));
        sum.update(part);
        left -= part.len();
    }
    hex(&sum.finalize())
}

fn read_stream(stream: &mut TcpStream) -> String {
    let mut sum = Sha256::new();
    let mut buf = vec![0; CHUNK];
    let mut total = 0;
    loop {
        match stream.read(&mut buf) {
            Ok(0) => return hex(&sum.finalize()),
            Ok(len) => {
                sum.update(&buf[..len]);
                total += len;
            }
            Err(error) => panic!("receiving, after {total} bytes: {error}"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SplitMix64: cheap, and no two blocks alike.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Numbered UDP packets.
#[derive(Clone, Copy, Debug)]
pub struct Numbered {
    /// How many.
    pub packets: u32,
    /// How many a second.
    pub rate: u32,
    /// UDP payload of each in bytes, at least 4.
    pub len: usize,
}

/// What arrived of numbered packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Different ones.
    pub packets: u32,
    /// The same again, or something else.
    pub strange: u32,
}

/// Sends numbered UDP packets from one machine to another at a steady pace.
///
/// # Panics
/// If a socket cannot be had.
pub fn udp(from: &Machine, to: &Machine, family: Family, what: Numbered) -> Arrived {
    let socket = |machine: &Machine| {
        let address = machine.address(family);
        let socket = machine.namespace.within(|| UdpSocket::bind((address, 0)));
        socket.expect("the machine has this address")
    };
    let (sender, receiver) = (socket(from), socket(to));
    // Holds a second of packets, should the reader not be scheduled.
    set_socket_recv_buffer_size_force(&receiver, 64 << 20).expect("root may");
    receiver
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("not zero");
    let target = receiver.local_addr().expect("it is bound");
    sender.connect(target).expect("UDP connects at once");
    std::thread::scope(|scope| {
        scope.spawn(|| send_numbered(&sender, what));
        receive_numbered(&receiver, what)
    })
}

fn send_numbered(socket: &UdpSocket, what: Numbered) {
    /// After an interruption the backlog is worked off in bursts no larger.
    const BURST: u64 = 128;
    let start = Instant::now();
    let mut packet = vec![0x55; what.len.max(4)];
    let mut sent = 0_u64;
    while sent < what.packets.into() {
        let due = (start.elapsed().as_micros() as u64 * u64::from(what.rate)) / 1_000_000;
        for _ in 0..due.min(what.packets.into()).saturating_sub(sent).min(BURST) {
            packet[..4].copy_from_slice(&(sent as u32).to_be_bytes());
            socket
                .send(&packet)
                .unwrap_or_else(|e| panic!("sending packet {sent}: {e}"));
            sent += 1;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn receive_numbered(socket: &UdpSocket, what: Numbered) -> Arrived {
    let mut seen = vec![false; what.packets as usize];
    let mut arrived = Arrived {
        packets: 0,
        strange: 0,
    };
    let mut buf = [0; 65536];
    while arrived.packets < what.packets {
        let Ok(len) = socket.recv(&mut buf) else {
            break; // silence: what has not come will not come
        };
        let number = u32::from_be_bytes([buf[0], buf[1], buf[2], buf[3]]);
        match seen.get_mut(number as usize) {
            Some(seen) if !*seen && len == what.len.max(4) => {
                *seen = true;
                arrived.packets += 1;
            }
            _ => arrived.strange += 1,
        }
    }
    arrived
}

/// Sends one UDP payload of any size and returns what arrived, if anything.
///
/// # Panics
/// If a socket cannot be had.
pub fn datagram(from: &Machine, to: &Machine, family: Family, payload: &[u8]) -> Option<Vec<u8>> {
    let bind = |machine: &Machine| {
        let address: IpAddr = machine.address(family);
        let socket = machine.namespace.within(|| UdpSocket::bind((address, 0)));
        socket.expect("the machine has this address")
    };
    let (sender, receiver) = (bind(from), bind(to));
    receiver
        .set_read_timeout(Some(Duration::from_secs(2)))
        .expect("not zero");
    let target = receiver.local_addr().expect("it is bound");
    sender
        .send_to(payload, target)
        .expect("the interface takes it");
    let mut buf = vec![0; 65536];
    let len = receiver.recv(&mut buf).ok()?;
    buf.truncate(len);
    Some(buf)
}
