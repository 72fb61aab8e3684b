//! Anything to every call, and anything as YAML: the daemon neither panics nor
//! hangs, and answers afterwards.
//!
//! Messages are made from the protocol's own descriptors, so a new call is among
//! them as soon as it is in the `.proto`. Some are made of plausible values, some
//! of the extremes, some are bytes of others with bits changed. Seeds are numbers,
//! so a failure can be repeated: the message is in the failure's text.
//!
//! ```text
//! FUZZ_SECONDS=1800 FUZZ_KEEP=1 cargo test -p ctl --test protocol fuzz
//! ```
//!
//! fuzzes for half an hour instead of some seconds, and keeps in `corpus.txt` the
//! shortest message that was met for each kind of answer, a line each. What is
//! kept is sent first, every time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, panic};

use crate::support::{Daemon, NET, runtime};
use ctl::access::{Limits, Settings};
use ctl::config::NodeConfig;
use ctl::files::ObjectFiles;
use ctl::proto::{self, FILE_DESCRIPTOR_SET};
use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, Value,
};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

/// An answer that takes longer is a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longer ones are not kept.
const KEPT_BYTES: usize = 256;

/// By kind of answer, the call and the message that got it.
type Corpus = BTreeMap<String, (String, Vec<u8>)>;

fn length() -> Duration {
    let seconds = env::var("FUZZ_SECONDS").ok();
    Duration::from_secs(seconds.map_or(3, |text| text.parse().unwrap()))
}

/// splitmix64: every seed is a good one.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

const TEXTS: &[&str] = &[
    "a",
    "b",
    "front",
    "underlay",
    "web-1",
    "tester",
    "memory:v0",
    "memory:v1",
    "memory:none",
    "10.1.0.1/24",
    "10.1.0.5",
    "10.1.0.0/16",
    "0.0.0.0/0",
    "255.255.255.255",
    "224.0.0.1",
    "fd01::1/64",
    "fd01::5",
    "::/0",
    "64:ff9b::/96",
    "02:00:00:00:01:05",
    "ff:ff:ff:ff:ff:ff",
    "01:00:5e:00:00:01",
    "00:00:00:00:00:00",
    "1-65535",
    "80",
    "0",
    "65536",
    "443-80",
    "192.0.2.1",
    "192.0.2.2",
    "tcp",
    "udp",
    "icmp",
    "/",
    "",
    " ",
    "\u{0}",
    "é",
    "10.1.0.1/33",
    "-1",
    "a b",
    "tcp and port 80",
    "((((",
    "vrf=a",
];

const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    4,
    6,
    15,
    16,
    17,
    47,
    64,
    80,
    96,
    128,
    255,
    256,
    1280,
    1500,
    4094,
    4096,
    5001,
    65_535,
    65_536,
    (1 << 20) - 1,
    1 << 20,
    (1 << 24) - 1,
    1 << 24,
    u32::MAX as u64,
    1 << 32,
    i64::MAX as u64,
    u64::MAX,
];

/// A message with whatever its descriptor allows.
fn message(random: &mut Random, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    for field in of.fields() {
        // Required fields are there more often than not, or nothing gets far.
        if random.one_in(3) && depth > 0 || depth > 6 {
            continue;
        }
        if field.cardinality() == Cardinality::Repeated {
            let count = match random.below(8) {
                0 => 0,
                7 => random.below(40),
                _ => 1 + random.below(3),
            };
            if field.is_map() {
                continue;
            }
            let items = (0..count).map(|_| value(random, &field, depth));
            message.set_field(&field, Value::List(items.collect()));
        } else {
            // Of a oneof the last one stays: not always the same.
            if field.containing_oneof().is_some() && random.one_in(2) {
                continue;
            }
            let value = value(random, &field, depth);
            message.set_field(&field, value);
        }
    }
    message
}

fn value(random: &mut Random, field: &FieldDescriptor, depth: usize) -> Value {
    let number = *random.pick(&NUMBERS.iter().collect::<Vec<_>>());
    match field.kind() {
        Kind::Message(of) => Value::Message(message(random, &of, depth + 1)),
        Kind::Enum(of) => match random.one_in(16) {
            true => Value::EnumNumber(number as i32),
            false => {
                let values: Vec<i32> = of.values().map(|value| value.number()).collect();
                Value::EnumNumber(values[random.below(values.len())])
            }
        },
        Kind::String => Value::String(text(random)),
        Kind::Bytes => Value::Bytes(
            (0..random.below(200))
                .map(|_| random.next() as u8)
                .collect(),
        ),
        Kind::Bool => Value::Bool(random.one_in(2)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(number as i64),
        Kind::Float => Value::F32(number as f32),
        Kind::Double => Value::F64(number as f64),
    }
}

fn text(random: &mut Random) -> String {
    match random.below(20) {
        0 => random.pick(TEXTS).repeat(1 + random.below(100)),
        1 => format!("{}{}", random.pick(TEXTS), random.pick(TEXTS)),
        2 => format!("10.1.{}.{}", random.below(4), random.below(256)),
        _ => random.pick(TEXTS).into(),
    }
}

/// Bytes with some of them changed, left out, or said twice.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            bytes.push(random.next() as u8);
            continue;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            2 => bytes.truncate(at),
            3 => bytes.insert(at, random.next() as u8),
            4 => {
                let to = (at + 1 + random.below(64)).min(bytes.len());
                let piece = bytes[at..to].to_vec();
                let times = 1 + random.below(8);
                (0..times).for_each(|_| bytes.extend_from_slice(&piece));
            }
            _ => {
                let to = (at + 1 + random.below(64)).min(bytes.len());
                bytes.drain(at..to);
            }
        }
    }
}

/// Sends and takes bytes as they are.
#[derive(Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// What came back, as far as two answers can be of different kinds.
async fn ask(client: &mut Grpc<Channel>, method: &MethodDescriptor, bytes: Vec<u8>) -> String {
    let service = method.parent_service();
    let path = format!("/{}/{}", service.full_name(), method.name());
    let path = PathAndQuery::try_from(path).unwrap();
    client.ready().await.unwrap();
    let answer = client.server_streaming(Request::new(bytes), path, Raw);
    let mut stream = match answer.await {
        Ok(response) => response.into_inner(),
        Err(status) => return refused(&status),
    };
    // Streams that never end are left after a moment; so is one with much to say.
    let mut said = BTreeSet::new();
    for _ in 0..4 {
        let message = tokio::time::timeout(Duration::from_millis(5), stream.message());
        match message.await {
            Ok(Ok(Some(bytes))) => said.extend(kinds_of(method, &bytes)),
            Ok(Ok(None)) | Err(_) => break,
            Ok(Err(status)) => return refused(&status),
        }
    }
    format!("{said:?}")
}

fn refused(status: &Status) -> String {
    let code = status.code();
    let fatal = matches!(code, Code::Internal | Code::Unavailable | Code::Unknown);
    let message = status.message();
    // What cannot be decoded at all is tonic's to refuse, as INTERNAL.
    let is_ours = !message.contains("failed to decode");
    assert!(!(fatal && is_ours), "{code:?}: {message}");
    // Without the values in it.
    let words: String = message.split('`').step_by(2).collect();
    let words = words.replace(|c: char| c.is_ascii_digit(), "");
    let words = words.split_whitespace().take(4).collect::<Vec<_>>();
    format!("{code:?} {}", words.join(" "))
}

/// Codes and fields of refusals; of other answers, only that there is one.
fn kinds_of(method: &MethodDescriptor, bytes: &[u8]) -> Vec<String> {
    if method.name() != "Apply" {
        return vec!["answered".into()];
    }
    let response = proto::ApplyResponse::decode(bytes).unwrap();
    let of = |refusal: &proto::Refusal| {
        let field: String = refusal
            .field
            .chars()
            .filter(|c| !c.is_ascii_digit())
            .collect();
        format!("{:?} {field}", refusal.code())
    };
    // One of each is enough to remember.
    let first = response.refusals.first().map(of);
    vec![first.unwrap_or(format!("{:?}", response.outcome()))]
}

fn corpus_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/corpus.txt")
}

/// Calls and messages, as they were kept.
fn kept() -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(corpus_file()).unwrap_or_default();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let lines = text.lines().map(|line| {
        let (call, hex) = line.split_once(' ').unwrap();
        (
            call.to_owned(),
            hex.as_bytes().chunks(2).map(byte).collect(),
        )
    });
    lines.collect()
}

fn keep(corpus: &Corpus) {
    let lines = corpus.values().map(|(call, bytes)| {
        let hex = bytes.iter().map(|byte| format!("{byte:02x}"));
        format!("{call} {}\n", hex.collect::<String>())
    });
    fs::write(corpus_file(), lines.collect::<String>()).unwrap();
}

/// Takes the message if it is the shortest for this answer.
fn remember(corpus: &mut Corpus, call: &str, answer: &str, bytes: Vec<u8>) {
    let entry = corpus.entry(format!("{call} {answer}"));
    let entry = entry.or_insert_with(|| (call.into(), vec![0; KEPT_BYTES + 1]));
    if bytes.len() < entry.1.len() {
        entry.1 = bytes;
    }
}

#[test]
fn every_call_survives_any_message() {
    let mut daemon = Daemon::start_with(|_| Settings {
        limits: Limits {
            message_bytes: 1 << 20,
            ..Limits::default()
        },
        ..Settings::default()
    });
    let _peers = ["memory:v0", "memory:v1"].map(|device| daemon.devices.plug(device, 1));
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let methods: Vec<_> = pool
        .services()
        .flat_map(|it| it.methods().collect::<Vec<_>>())
        .collect();
    let seed = env::var("FUZZ_SEED").map_or(6, |text| text.parse().unwrap());
    let mut random = Random(seed);
    let (mut corpus, mut sent) = (Corpus::new(), 0_u64);
    runtime().block_on(async {
        let mut client = Grpc::new(daemon.channel("ctl.sock").await);
        for (call, bytes) in kept() {
            // A call that is no more has nothing to be asked.
            if let Some(method) = methods.iter().find(|method| method.name() == call) {
                let answer = ask(&mut client, method, bytes.clone()).await;
                remember(&mut corpus, &call, &answer, bytes);
            }
        }
        let (start, mut is_committed) = (Instant::now(), false);
        // Until something was committed in any case: how many messages go into a second depends on
        // the machine.
        while start.elapsed() < length() || (!is_committed && start.elapsed() < 10 * length()) {
            // Half of all calls change something: most that can go wrong is there.
            let method = match random.one_in(2) {
                true => methods
                    .iter()
                    .find(|method| method.name() == "Apply")
                    .unwrap(),
                false => &methods[random.below(methods.len())],
            };
            let mut bytes = message(&mut random, &method.input(), 0).encode_to_vec();
            if random.one_in(4) {
                mutate(&mut random, &mut bytes);
            }
            let asked = ask(&mut client, method, bytes.clone());
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            let answer = answer.unwrap_or_else(|_| {
                let shown = bytes.iter().map(|byte| format!("{byte:02x}"));
                panic!(
                    "no answer to {}: {}",
                    method.name(),
                    shown.collect::<String>()
                )
            });
            sent += 1;
            is_committed |= method.name() == "Apply" && answer.contains("Committed");
            remember(&mut corpus, method.name(), &answer, bytes);
        }
        corpus.retain(|_, (_, bytes)| bytes.len() <= KEPT_BYTES);
        if env::var_os("FUZZ_KEEP").is_some() {
            keep(&corpus);
        }
        let mut client = daemon.raw("ctl.sock").await;
        let stats = client
            .stats(proto::StatsRequest { rules: true })
            .await
            .unwrap();
        let (made, kinds) = (stats.into_inner().generation, corpus.len());
        println!("{sent} messages, {kinds} kinds of answers, {made} generations");
        assert!(made > 0, "nothing got as far as a commit");
    });
    daemon.stop();
}

#[test]
fn yaml_of_any_kind_is_read_or_refused() {
    let docs = include_str!("../../../docs/configuration.md");
    let blocks = docs.split("```yaml\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    let seeds: Vec<&str> = blocks
        .chain([NET, "", "a: &x [*x]", "{}", "- - -"])
        .collect();
    let nested = [
        "[", "{a: ", "- ", "? ", "&a ", "!t ", "\"", "'", "| \n", "vrfs: [",
    ];
    for piece in nested {
        read_both(&piece.repeat(20_000));
    }
    let mut random = Random(7);
    let (until, mut read) = (Instant::now() + length() / 2, 0);
    while Instant::now() < until {
        let mut bytes = random.pick(&seeds).as_bytes().to_vec();
        if random.one_in(3) {
            bytes.extend_from_slice(random.pick(&seeds).as_bytes());
        }
        mutate(&mut random, &mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let began = Instant::now();
        let result = panic::catch_unwind(|| read_both(&text));
        assert!(result.is_ok(), "panicked at:\n{text}");
        assert!(began.elapsed() < PATIENCE, "took too long over:\n{text}");
        read += 1;
    }
    println!("{read} texts");
}

fn read_both(text: &str) {
    let mut files = ObjectFiles::default();
    files.read("fuzz", text);
    _ = files.mistakes().len();
    if let Err(mistakes) = NodeConfig::parse("fuzz", text) {
        mistakes
            .iter()
            .for_each(|mistake| assert!(!mistake.to_string().is_empty()));
    }
}
