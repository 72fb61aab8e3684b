//! The state file: what was committed is there again, or the file is refused with a
//! sentence.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ctl::convert;
use ctl::files::ObjectFiles;
use ctl::proto::{self, SavedCommit};
use ctl::state::{Entry, FILE_NAME, Saved, State, StateError};
use dataplane::Tables;
use dataplane::tables::change::{Change, Request};

/// Commits of one route each, as the log holds them.
fn commit(number: u64) -> SavedCommit {
    let route = proto::Route {
        vrf: "front".into(),
        prefix: format!("10.{}.{}.0/24", number / 256 % 256, number % 256),
        nexthop: "nowhere".into(),
    };
    let object = Some(proto::object::Object::Route(route));
    SavedCommit {
        owner: format!("controller-{}", number % 3),
        upserts: vec![proto::Object { object }],
        deletes: vec![],
    }
}

fn entries(generations: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    generations.map(|it| Entry::new(it, &commit(it))).collect()
}

fn open(dir: &Path) -> (State, Saved) {
    State::open(dir).unwrap()
}

/// What `generation` commits leave behind.
fn holds(saved: &Saved, generation: u64) {
    assert_eq!(saved.generation, generation);
    assert_eq!(saved.objects.len() as u64, generation);
    for number in 1..=generation {
        let commit = commit(number);
        let key = convert::key_of(&commit.upserts[0]).unwrap();
        assert_eq!(*saved.objects[&key].owner, *commit.owner);
    }
}

fn refused(dir: &Path) -> String {
    let error = State::open(dir).err().unwrap();
    let said = error.to_string();
    assert!(said.contains(&*dir.to_string_lossy()), "{said}");
    assert!(!said.contains('\n'), "{said}");
    said
}

#[test]
fn commits_are_there_again_with_their_owners_and_generation() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, saved) = open(dir.path());
    assert_eq!((saved.generation, saved.objects.len()), (0, 0));
    state.commit(&entries(1..=5)).unwrap();
    state.commit(&entries(6..=6)).unwrap();
    drop(state);
    let (mut state, saved) = open(dir.path());
    holds(&saved, 6);
    let key = convert::key_of(&commit(6).upserts[0]).unwrap();
    let gone = SavedCommit {
        deletes: vec![(&key).into()],
        ..SavedCommit::default()
    };
    state.commit(&[Entry::new(7, &gone)]).unwrap();
    drop(state);
    let (_, saved) = open(dir.path());
    assert_eq!((saved.generation, saved.objects.len()), (7, 5));
}

#[test]
fn a_second_daemon_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path());
    assert!(refused(dir.path()).contains("in use by another vrouterd"));
}

#[test]
fn a_checkpoint_replaces_the_log_and_commits_go_on_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = open(dir.path());
    // A snapshot with the same objects as the commits.
    let mut tables = Tables::new(1);
    let text = "vrfs:\n  - {name: front}\nnexthops:\n  - {name: nowhere, discard: {}}\n";
    let mut files = ObjectFiles::default();
    files.read("test", text);
    let first: Vec<_> = files
        .objects()
        .map(|it| convert::object(it).unwrap())
        .collect();
    let upserts = files.objects().cloned().collect();
    let owner = "tester".to_owned();
    let deletes = vec![];
    let base = SavedCommit {
        owner,
        upserts,
        deletes,
    };
    let request = |objects: Vec<_>| Request {
        owner: "tester".into(),
        replace: false,
        if_generation: None,
        changes: objects.into_iter().map(Change::Upsert).collect(),
    };
    tables = tables.prepare(&request(first)).unwrap().finish(|_| None).0;
    state.commit(&[Entry::new(1, &base)]).unwrap();
    for generation in 2..=3_000 {
        let commit = commit(generation);
        let object = convert::object(&commit.upserts[0]).unwrap();
        tables = tables
            .prepare(&request(vec![object]))
            .unwrap()
            .finish(|_| None)
            .0;
        if generation % 100 == 0 {
            let some: Vec<_> = (generation - 99..=generation)
                .filter(|it| *it > 1)
                .map(|it| Entry::new(it, &self::commit(it)))
                .collect();
            state.commit(&some).unwrap();
        }
    }
    assert!(!state.wants_checkpoint(), "too short to be worth one");
    while state.is_checkpointing() {
        state.checkpoint(0).unwrap();
    }
    state.begin_checkpoint(Arc::new(tables));
    let mut generation = 3_000;
    while state.is_checkpointing() {
        generation += 1;
        state.commit(&entries(generation..=generation)).unwrap();
        state.checkpoint(0).unwrap();
    }
    assert!(generation > 3_005, "{generation}");
    drop(state);
    let (state, saved) = open(dir.path());
    assert_eq!(saved.generation, generation);
    assert_eq!(saved.objects.len() as u64, generation - 1 + 2);
    drop(state);
    // Given up half-way, the one before holds.
    let (mut state, _) = open(dir.path());
    while state.is_checkpointing() {
        state.checkpoint(0).unwrap();
    }
    state.begin_checkpoint(Arc::new(Tables::new(1)));
    state
        .commit(&entries(generation + 1..=generation + 1))
        .unwrap();
    drop(state);
    let (_, saved) = open(dir.path());
    assert_eq!(saved.generation, generation + 1);
    assert_eq!(saved.objects.len() as u64, generation + 2);
}

#[test]
fn every_cut_is_refused_or_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    let (mut state, _) = open(dir.path());
    state.commit(&entries(1..=50)).unwrap();
    drop(state);
    let whole = fs::read(&file).unwrap();
    for len in (0..whole.len()).step_by(whole.len() / 64 + 1) {
        fs::write(&file, &whole[..len]).unwrap();
        match State::open(dir.path()) {
            Ok((_, saved)) => holds(&saved, 50),
            Err(error) => assert!(error.to_string().contains("--without-state"), "{error}"),
        }
    }
}

#[test]
fn every_flipped_byte_is_refused_or_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    let (mut state, _) = open(dir.path());
    state.commit(&entries(1..=50)).unwrap();
    drop(state);
    let whole = fs::read(&file).unwrap();
    let mut refused = 0;
    // One in so many bytes; in redb's own header, all.
    let step = std::env::var("STATE_FLIP_STEP");
    let step: usize = step.map_or(4_099, |step| step.parse().unwrap());
    let places = (0..320).step_by(step.div_ceil(512));
    let places = places.chain((320..whole.len()).step_by(step));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for place in places {
        let mut flipped = whole.clone();
        flipped[place] ^= 0x40;
        fs::write(&file, &flipped).unwrap();
        match State::open(dir.path()) {
            Ok((_, saved)) => holds(&saved, 50),
            Err(error) => {
                refused += 1;
                let said = error.to_string();
                assert!(said.contains("--without-state"), "byte {place}: {said}");
            }
        }
    }
    std::panic::set_hook(hook);
    assert!(refused > 0);
}

#[test]
fn foreign_files_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE_NAME);
    fs::write(&file, "precious").unwrap();
    let said = refused(dir.path());
    assert!(said.contains("no state file"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    fs::remove_file(&file).unwrap();
    redb::Database::create(&file).unwrap();
    let said = refused(dir.path());
    assert!(said.contains("no state file of vrouterd"), "{said}");
}

#[test]
fn a_missing_commit_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = open(dir.path());
    state.commit(&entries(1..=3)).unwrap();
    state.commit(&entries(5..=5)).unwrap();
    drop(state);
    let said = refused(dir.path());
    assert!(
        said.contains("the commit of generation 4 is missing"),
        "{said}"
    );
}

#[test]
fn a_directory_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = State::open(&file.join("state")).err().unwrap();
    assert!(matches!(error, StateError::Directory { .. }), "{error}");
    assert!(error.to_string().starts_with("state_dir: "), "{error}");
}
