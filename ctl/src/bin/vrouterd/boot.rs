//! What the daemon begins with: its state, or at the first boot the objects of the
//! node file.

use std::io::Write;
use std::panic;
use std::path::Path;

use ctl::access::Caller;
use ctl::config::{BOOT_OWNER, NodeConfig};
use ctl::proto::Outcome;
use ctl::server::Commits;
use ctl::state::{FILE_NAME, Saved, State, StateError};
use dataplane::engine::Engine;
use dataplane::io::dpdk::Mbuf;
use tracing::{info, warn};

use crate::report;

/// Opens the state and reads it.
pub(crate) fn open_state(directory: &Path) -> Result<(Option<State>, Saved), String> {
    // What reads the file may take damage for a bug of its own, and panics abort in a release:
    // the same sentence then.
    let damaged = StateError::damaged(&directory.join(FILE_NAME), "the file is damaged");
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |_| {
        _ = writeln!(std::io::stderr(), "vrouterd: {damaged}");
        std::process::exit(1);
    }));
    let opened = State::open(directory);
    panic::set_hook(usual);
    let (state, saved) = opened.map_err(|error| error.to_string())?;
    Ok((Some(state), saved))
}

/// No state.
pub(crate) fn without_state(directory: &Path) -> (Option<State>, Saved) {
    warn!(
        "without state: {} is left as it is, and no commit outlives this process",
        directory.display()
    );
    (None, Saved::default())
}

/// Puts in force what was committed before. Vifs whose devices are missing wait for them.
pub(crate) fn restore(engine: &mut Engine<Mbuf>, saved: Saved) -> Result<(), String> {
    if saved.generation == 0 {
        return Ok(());
    }
    let missing = engine
        .restore(saved.generation, &saved.objects)
        .map_err(|refusals| {
            format!(
                "state_dir: {} objects that were committed before are refused by this version, \
                 the first because of {}; start the version that took them, or start with \
                 --without-state to leave the file as it is and keep nothing",
                refusals.len(),
                refusals[0]
            )
        })?;
    info!(
        "{} objects of generation {} are in force again",
        saved.objects.len(),
        saved.generation
    );
    for (vif, why) in missing {
        warn!("vif {vif} is without its device, which is tried again every second: {why}");
    }
    Ok(())
}

/// Applies the objects of the node file.
pub(crate) async fn apply_node_file(
    commits: &Commits<Mbuf>,
    config: &mut NodeConfig,
) -> Result<(), String> {
    let request = config.objects.request(BOOT_OWNER);
    let response = commits.apply(Caller::daemon(), request).await;
    if let Some(response) = response
        && response.outcome() == Outcome::Refused
    {
        config.objects.add_refusals(&response.refusals);
        return Err(report(&config.objects.mistakes(), "not started"));
    }
    Ok(())
}
