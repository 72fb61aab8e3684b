//! The picture: four panes, or one that fills the screen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::model::Model;
use crate::table::span;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pane {
    Workers,
    Vifs,
    Drops,
    Flows,
}

/// What vifs and flows are sorted by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Packets,
    Bits,
    Drops,
    Name,
}

/// What the user has chosen.
pub(super) struct View {
    pub(super) interval: Duration,
    pub(super) pane: Pane,
    pub(super) sort: Sort,
    /// Rows of the pane that are above it.
    pub(super) skip: usize,
    pub(super) is_zoomed: bool,
    pub(super) is_paused: bool,
}

impl Pane {
    pub(super) fn next(self) -> Pane {
        match self {
            Pane::Workers => Pane::Vifs,
            Pane::Vifs => Pane::Drops,
            Pane::Drops => Pane::Flows,
            Pane::Flows => Pane::Workers,
        }
    }
}

impl Sort {
    pub(super) fn next(self) -> Sort {
        match self {
            Sort::Packets => Sort::Bits,
            Sort::Bits => Sort::Drops,
            Sort::Drops => Sort::Name,
            Sort::Name => Sort::Packets,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Sort::Packets => "packets",
            Sort::Bits => "bits",
            Sort::Drops => "drops",
            Sort::Name => "name",
        }
    }
}

impl View {
    pub(super) fn new(interval: Duration) -> View {
        View {
            interval,
            pane: Pane::Vifs,
            sort: Sort::Packets,
            skip: 0,
            is_zoomed: false,
            is_paused: false,
        }
    }

    pub(super) fn choose(&mut self, pane: Pane) {
        self.pane = pane;
        self.skip = 0;
    }

    pub(super) fn draw(&self, frame: &mut Frame, model: &Model) {
        let [head, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head(model)), head);
        let keys = " q leave  Tab pane  Enter zoom  s sort  space stop  +/- interval  ↑↓ scroll";
        let keys = Span::styled(keys, Style::new().add_modifier(Modifier::DIM));
        frame.render_widget(Paragraph::new(Line::from(keys)), foot);
        if self.is_zoomed {
            return self.pane(frame, self.pane, body, model);
        }
        let workers = model.now.stats.workers.len().min(8) as u16;
        let vifs = model.now.stats.vifs.len().min(12) as u16;
        let areas = Layout::vertical([
            Constraint::Length(workers + 3),
            Constraint::Length(vifs + 3),
            Constraint::Fill(2),
            Constraint::Fill(3),
        ])
        .areas::<4>(body);
        let panes = [Pane::Workers, Pane::Vifs, Pane::Drops, Pane::Flows];
        for (pane, area) in panes.into_iter().zip(areas) {
            self.pane(frame, pane, area, model);
        }
    }

    fn head(&self, model: &Model) -> Line<'static> {
        let stats = &model.now.stats;
        let table = stats.flow_table.unwrap_or_default();
        let share = table.used as f64 / table.limit.max(1) as f64;
        let paused = if self.is_paused { "  STOPPED" } else { "" };
        Line::from(vec![
            Span::styled(
                format!(" vrouter {} ", stats.version),
                Style::new().add_modifier(Modifier::BOLD),
            ),
            Span::raw(format!(
                " generation {}  up {}  flows ",
                stats.generation,
                span(stats.uptime_ms)
            )),
            Span::styled(
                format!("{} of {} ({:.1} %)", table.used, table.limit, 100.0 * share),
                alarm(share),
            ),
            Span::raw(format!(
                "  every {:.1} s  by {}{paused}",
                self.interval.as_secs_f64(),
                self.sort.name()
            )),
        ])
    }

    fn pane(&self, frame: &mut Frame, pane: Pane, area: Rect, model: &Model) {
        let (title, widths, titles, rows) = match pane {
            Pane::Workers => workers(model),
            Pane::Vifs => self.vifs(model),
            Pane::Drops => drops(model),
            Pane::Flows => self.flows(model),
        };
        let is_chosen = pane == self.pane;
        let skip = if is_chosen {
            self.skip.min(rows.len().saturating_sub(1))
        } else {
            0
        };
        let border = match is_chosen {
            true => Style::new().fg(Color::Cyan),
            false => Style::new().add_modifier(Modifier::DIM),
        };
        let block = Block::new()
            .borders(Borders::ALL)
            .border_style(border)
            .title(format!(" {title} "));
        let header = Row::new(titles).style(Style::new().add_modifier(Modifier::BOLD));
        let table = Table::new(rows.into_iter().skip(skip), widths);
        frame.render_widget(table.header(header).block(block).column_spacing(2), area);
    }

    fn vifs(&self, model: &Model) -> Shown {
        let mut vifs = model.vifs();
        match self.sort {
            Sort::Name => {}
            Sort::Packets => {
                vifs.sort_by(|a, b| (b.rx_pps + b.tx_pps).total_cmp(&(a.rx_pps + a.tx_pps)))
            }
            Sort::Bits => {
                vifs.sort_by(|a, b| (b.rx_bps + b.tx_bps).total_cmp(&(a.rx_bps + a.tx_bps)))
            }
            Sort::Drops => vifs.sort_by(|a, b| b.drops.total_cmp(&a.drops)),
        }
        let rows = vifs.into_iter().map(|vif| {
            let (link, style) = match vif.is_up {
                true => ("up", Style::new()),
                false => ("down", Style::new().fg(Color::Red)),
            };
            Row::new(vec![
                Cell::new(vif.name),
                Cell::new(vif.role),
                Cell::new(link).style(style),
                number(vif.rx_pps),
                number(vif.rx_bps),
                number(vif.tx_pps),
                number(vif.tx_bps),
                number(vif.drops).style(bad(vif.drops > 0.0)),
                number(vif.flows as f64),
            ])
        });
        let widths = [16, 7, 5, 8, 8, 8, 8, 8, 8].map(Constraint::Length);
        let titles = [
            "VIF", "ROLE", "LINK", "  RX P/S", "RX BIT/S", "  TX P/S", "TX BIT/S", " DROPS/S",
            "   FLOWS",
        ];
        ("vifs", widths.into(), titles.into(), rows.collect())
    }

    fn flows(&self, model: &Model) -> Shown {
        let mut flows = model.flows();
        match self.sort {
            Sort::Bits => flows.sort_by(|a, b| b.bps.total_cmp(&a.bps)),
            _ => flows.sort_by(|a, b| b.pps.total_cmp(&a.pps)),
        }
        let rows = flows.into_iter().take(200).map(|flow| {
            Row::new(vec![
                Cell::new(flow.vrf),
                Cell::new(flow.protocol),
                Cell::new(flow.from),
                Cell::new(flow.to),
                number(flow.pps),
                number(flow.bps),
                Cell::new(flow.state),
            ])
        });
        let widths = [
            Constraint::Length(12),
            Constraint::Length(6),
            Constraint::Fill(1),
            Constraint::Fill(1),
            Constraint::Length(8),
            Constraint::Length(9),
            Constraint::Length(12),
        ];
        let titles = [
            "VRF", "PROTO", "FROM", "TO", "     P/S", "   BIT/S", "STATE",
        ];
        (
            "busiest flows",
            widths.into(),
            titles.into(),
            rows.collect(),
        )
    }
}

/// Title, widths, heads and rows of a pane.
type Shown = (
    &'static str,
    Vec<Constraint>,
    Vec<&'static str>,
    Vec<Row<'static>>,
);

fn workers(model: &Model) -> Shown {
    let rows = model.workers().into_iter().map(|worker| {
        let filled = (worker.busy * 20.0).round() as usize;
        let bar = format!("{}{}", "█".repeat(filled), "░".repeat(20 - filled.min(20)));
        let latency = worker.latency;
        Row::new(vec![
            Cell::new(format!("{:>5}", worker.core)),
            Cell::new(bar).style(alarm(worker.busy)),
            Cell::new(format!("{:5.1} %", 100.0 * worker.busy)),
            number(worker.pps),
            Cell::new(format!("{:9.1}", worker.per_batch)),
            time(latency.p50_ns),
            time(latency.p99_ns),
            time(latency.max_ns),
        ])
    });
    let widths = [5, 20, 7, 8, 9, 9, 9, 9].map(Constraint::Length);
    let titles = [
        " CORE",
        "BUSY",
        "",
        "     P/S",
        "PER BATCH",
        "   MEDIAN",
        "     99 %",
        "  LONGEST",
    ];
    ("workers", widths.into(), titles.into(), rows.collect())
}

fn drops(model: &Model) -> Shown {
    let rows = model.drops().into_iter().map(|drop| {
        Row::new(vec![
            Cell::new(drop.reason),
            Cell::new(drop.vif),
            number(drop.rate).style(bad(drop.rate > 0.0)),
            number(drop.total as f64),
            Cell::new(drop.cause),
        ])
    });
    let widths = [
        Constraint::Length(22),
        Constraint::Length(16),
        Constraint::Length(8),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let titles = ["REASON", "VIF", "     P/S", "   TOTAL", "LATEST CAUSE"];
    ("drops", widths.into(), titles.into(), rows.collect())
}

/// To three digits: `12.3k`.
fn number(value: f64) -> Cell<'static> {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(size, _)| value >= *size);
    Cell::new(match unit {
        Some((size, unit)) => format!("{:>7.1}{unit}", value / size),
        None => format!("{value:>8.0}"),
    })
}

fn time(ns: u64) -> Cell<'static> {
    Cell::new(match ns {
        0 => format!("{:>9}", "-"),
        1..1_000_000 => format!("{:>6.1} µs", ns as f64 / 1e3),
        _ => format!("{:>6.1} ms", ns as f64 / 1e6),
    })
}

fn alarm(share: f64) -> Style {
    match share {
        0.9.. => Style::new().fg(Color::Red),
        0.7.. => Style::new().fg(Color::Yellow),
        _ => Style::new().fg(Color::Green),
    }
}

fn bad(is_bad: bool) -> Style {
    match is_bad {
        true => Style::new().fg(Color::Red),
        false => Style::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use ctl::proto::{self, DropReason, DroppedPacket, Flow, FlowSide, VifStats, WorkerStats};
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::model::Reading;
    use super::*;

    fn reading(at: Instant, seconds: u64) -> Reading {
        let vif = VifStats {
            name: "web-1".into(),
            role: proto::Role::Tenant.into(),
            link_up: true,
            rx_packets: 20_000 * seconds,
            rx_bytes: 1_000_000 * seconds,
            drops: vec![proto::DropCount {
                reason: "policy_denied".into(),
                packets: 50 * seconds,
            }],
            ..VifStats::default()
        };
        let worker = WorkerStats {
            core: 1,
            packets: 20_000 * seconds,
            busy_rounds: 1_000 * seconds,
            busy_ns: 750_000_000 * seconds,
            ..WorkerStats::default()
        };
        let side = FlowSide {
            vrf: "front".into(),
            protocol: "tcp".into(),
            src_addr: "10.1.0.5".into(),
            src_port: 4_000,
            dst_addr: "10.1.0.9".into(),
            dst_port: 80,
            packets: 1_500 * seconds,
            bytes: 100_000 * seconds,
            ..FlowSide::default()
        };
        let dropped = DroppedPacket {
            vif: "web-1".into(),
            reason: DropReason::PolicyDenied.into(),
            object: "policy web".into(),
            rule: Some(20),
            ..DroppedPacket::default()
        };
        Reading {
            at,
            stats: proto::StatsResponse {
                version: "0.1.0".into(),
                generation: 7,
                vifs: vec![vif],
                workers: vec![worker],
                ..proto::StatsResponse::default()
            },
            flows: vec![Flow {
                forward: Some(side),
                ..Flow::default()
            }],
            dropped: vec![dropped],
        }
    }

    fn drawn(view: &View, model: &Model, size: (u16, u16)) -> String {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| view.draw(frame, model)).unwrap();
        terminal.backend().to_string()
    }

    fn model() -> Model {
        let start = Instant::now();
        let mut model = Model::new(reading(start, 10));
        model.add(reading(start + Duration::from_secs(2), 12));
        model
    }

    #[test]
    fn rates_stand_in_their_panes() {
        let view = View::new(Duration::from_secs(1));
        let picture = drawn(&view, &model(), (120, 40));
        for part in [
            "generation 7",
            "███████████████░░░░░",
            "75.0 %",
            "20.0k",
            "policy_denied",
            "policy web rule 20",
            "10.1.0.5:4000",
            "1.5k",
        ] {
            assert!(picture.contains(part), "{part}\n{picture}");
        }
    }

    #[test]
    fn any_size_and_any_view_is_drawn() {
        let mut view = View::new(Duration::from_secs(1));
        for (width, height) in [(1, 1), (10, 3), (80, 24), (300, 5)] {
            for _ in 0..4 {
                view.choose(view.pane.next());
                view.is_zoomed = !view.is_zoomed;
                view.sort = view.sort.next();
                view.skip = 1_000;
                drawn(&view, &model(), (width, height));
            }
        }
    }
}
