//! `vrctl top`: workers, vifs, drops and the busiest flows, as they change.

mod model;
mod view;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args;
use ctl::client::Client;
use ctl::proto;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};

use crate::Failure;
use model::{Model, Reading};
use view::{Pane, View};

/// Watch workers, vifs, drops and the busiest flows
///
/// Keys: q leaves; Tab chooses a pane, Enter makes it fill the screen and back;
/// up and down scroll it; s sorts by the next column; space stops the picture;
/// + and - change how often it is taken.
#[derive(Args)]
#[command(after_help = "Examples:\n  vrctl top\n  vrctl top --interval 5")]
pub(crate) struct TopArgs {
    /// Seconds between two readings, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
}

/// Flows looked at in each reading, so that a table of millions does not cost its daemon much.
const FLOWS: u64 = 20_000;
/// Between two looks at the keyboard.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) async fn run(socket: &Path, args: TopArgs) -> Result<(), Failure> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::CouldNotAsk(
            "top needs a terminal; `vrctl stats` and `vrctl drops` write to files".into(),
        ));
    }
    let mut client = Client::connect(socket).await?;
    let mut model = Model::new(read(&mut client).await?);
    let mut view = View::new(Duration::from_secs(args.interval));
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut client, &mut model, &mut view, &mut terminal).await;
    ratatui::restore();
    shown
}

async fn show(
    client: &mut Client,
    model: &mut Model,
    view: &mut View,
    terminal: &mut ratatui::DefaultTerminal,
) -> Result<(), Failure> {
    let mut taken = Instant::now();
    loop {
        terminal.draw(|frame| view.draw(frame, model))?;
        while event::poll(LOOK)? {
            if let Event::Key(key) = event::read()?
                && key.kind == KeyEventKind::Press
                && press(view, key.code, key.modifiers)
            {
                return Ok(());
            }
        }
        if taken.elapsed() >= view.interval && !view.is_paused {
            taken = Instant::now();
            model.add(read(client).await?);
        }
    }
}

/// What a key does; true if it ends the program.
fn press(view: &mut View, key: KeyCode, modifiers: KeyModifiers) -> bool {
    match key {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Tab => view.choose(view.pane.next()),
        KeyCode::Char('1') => view.choose(Pane::Workers),
        KeyCode::Char('2') => view.choose(Pane::Vifs),
        KeyCode::Char('3') => view.choose(Pane::Drops),
        KeyCode::Char('4') => view.choose(Pane::Flows),
        KeyCode::Enter => view.is_zoomed = !view.is_zoomed,
        KeyCode::Char(' ') => view.is_paused = !view.is_paused,
        KeyCode::Char('s') => view.sort = view.sort.next(),
        KeyCode::Down => view.skip += 1,
        KeyCode::Up => view.skip = view.skip.saturating_sub(1),
        KeyCode::Char('+') => view.interval = (view.interval * 2).min(Duration::from_secs(60)),
        KeyCode::Char('-') => view.interval = (view.interval / 2).max(Duration::from_millis(250)),
        _ => {}
    }
    false
}

async fn read(client: &mut Client) -> Result<Reading, Failure> {
    let stats = client.stats().await?;
    let at = Instant::now();
    let request = proto::FlowsRequest {
        limit: Some(FLOWS),
        ..proto::FlowsRequest::default()
    };
    let mut stream = client.flows(request).await?;
    let mut flows = Vec::new();
    while let Some(response) = stream.message().await? {
        flows.extend(response.flows);
    }
    let request = proto::DroppedPacketsRequest {
        since_ms: Some(10_000),
        ..proto::DroppedPacketsRequest::default()
    };
    let mut stream = client.dropped_packets(request).await?;
    let mut dropped = Vec::new();
    while let Some(response) = stream.message().await? {
        dropped.extend(response.packets);
    }
    Ok(Reading {
        at,
        stats,
        flows,
        dropped,
    })
}
