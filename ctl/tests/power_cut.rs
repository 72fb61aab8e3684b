//! The power goes at random moments: of what was written since the last sync, any part
//! is on the disk, in any order, and sectors of a write without the others.
//!
//! The state is written to a disk in memory that keeps every write and sync. Then for
//! random moments the file is put together as the disk might have it, and opened.
//! POWER_CUTS says how often.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ctl::convert;
use ctl::proto::{self, SavedCommit};
use ctl::state::{Entry, FILE_NAME, State, Storage};
use dataplane::Tables;
use dataplane::tables::change::{Change, Request};
use redb::{Builder, Database, DatabaseError, StorageBackend};

const SECTOR: usize = 512;
const COMMITS: u64 = 150;

/// What the disk was asked for, in order, and what was acknowledged in between.
#[derive(Clone, Debug)]
enum Event {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
    Acknowledged(u64),
}

/// A file in memory, of which nothing is forgotten.
#[derive(Clone, Debug, Default)]
struct Disk {
    bytes: Arc<Mutex<Vec<u8>>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Disk {
    fn note(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock().unwrap();
        let from = bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(len as usize, 0);
        self.note(Event::SetLen(len as usize));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        put(&mut self.bytes.lock().unwrap(), offset as usize, data);
        self.note(Event::Write(offset as usize, data.to_vec()));
        Ok(())
    }
}

impl Storage for Disk {
    fn open(&self, builder: &Builder, _: &Path) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.clone())
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

/// A small deterministic generator (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % limit
    }
}

/// What commit `number` makes: prefixes enough that a commit is several sectors.
fn set(number: u64) -> proto::Object {
    let host = |i: u64| format!("10.{}.{}.{}", number % 256, i / 256, i % 256);
    let set = proto::AddressSet {
        name: format!("set-{number}"),
        prefixes: (0..number * 37 % 200).map(host).collect(),
    };
    proto::Object {
        object: Some(proto::object::Object::AddressSet(set)),
    }
}

/// Writes commits and checkpoints; everything the disk was asked for.
fn record(dir: &Path) -> (Vec<u8>, Vec<Event>) {
    drop(State::open(dir).unwrap());
    let initial = std::fs::read(dir.join(FILE_NAME)).unwrap();
    let disk = Disk::default();
    disk.bytes.lock().unwrap().clone_from(&initial);
    let (mut state, _) = State::open_on(dir, Box::new(disk.clone())).unwrap();
    let mut tables = Tables::new(1);
    for number in 1..=COMMITS {
        let object = set(number);
        let request = Request {
            owner: "tester".into(),
            replace: false,
            if_generation: None,
            changes: vec![Change::Upsert(convert::object(&object).unwrap())],
        };
        tables = tables.prepare(&request).unwrap().finish(|_| None).0;
        let commit = SavedCommit {
            owner: "tester".into(),
            upserts: vec![object],
            deletes: vec![],
        };
        state.commit(&[Entry::new(number, &commit)]).unwrap();
        disk.note(Event::Acknowledged(number));
        state.checkpoint(0).unwrap();
        if number % 30 == 0 && !state.is_checkpointing() {
            state.begin_checkpoint(Arc::new(tables.clone()));
        }
    }
    drop(state);
    let events = disk.events.lock().unwrap().clone();
    (initial, events)
}

/// What the disk may hold when the power goes after so many events.
fn image(initial: &[u8], events: &[Event], random: &mut Random) -> Vec<u8> {
    let synced = events.iter().rposition(|it| matches!(it, Event::Sync));
    let (safe, loose) = events.split_at(synced.map_or(0, |it| it + 1));
    let mut bytes = initial.to_vec();
    for event in safe {
        match event {
            Event::Write(offset, data) => put(&mut bytes, *offset, data),
            Event::SetLen(len) => bytes.resize(*len, 0),
            Event::Sync | Event::Acknowledged(_) => {}
        }
    }
    for event in loose {
        match (event, random.below(4)) {
            (_, 0) | (Event::Sync | Event::Acknowledged(_), _) => {}
            (Event::SetLen(len), _) => bytes.resize(*len, 0),
            (Event::Write(offset, data), 1) => {
                for (i, sector) in data.chunks(SECTOR).enumerate() {
                    if random.below(2) == 0 {
                        put(&mut bytes, offset + i * SECTOR, sector);
                    }
                }
            }
            (Event::Write(offset, data), _) => put(&mut bytes, *offset, data),
        }
    }
    bytes
}

#[test]
fn no_acknowledged_commit_is_lost_when_the_power_goes() {
    let cuts = std::env::var("POWER_CUTS").map_or(40, |cuts| cuts.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (initial, events) = record(dir.path());
    let after = tempfile::tempdir().unwrap();
    let file = after.path().join(FILE_NAME);
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let mut in_between = 0;
    for _ in 0..cuts {
        let events = &events[..random.below(events.len() + 1)];
        let acknowledged = events.iter().rev().find_map(|event| match event {
            Event::Acknowledged(generation) => Some(*generation),
            _ => None,
        });
        let acknowledged = acknowledged.unwrap_or(0);
        std::fs::write(&file, image(&initial, events, &mut random)).unwrap();
        let (_, saved) = State::open(after.path())
            .unwrap_or_else(|error| panic!("after {} events: {error}", events.len()));
        // The commit that was being written may be there, if it is whole.
        assert!(
            (acknowledged..=acknowledged + 1).contains(&saved.generation),
            "{} instead of {acknowledged}",
            saved.generation
        );
        in_between += usize::from(saved.generation > acknowledged);
        assert_eq!(saved.objects.len() as u64, saved.generation);
        for number in 1..=saved.generation {
            let object = convert::object(&set(number)).unwrap();
            assert_eq!(saved.objects[&object.key()].object, object);
        }
    }
    println!(
        "{cuts} power cuts, {in_between} of them when a commit was written and not yet acknowledged"
    );
}
