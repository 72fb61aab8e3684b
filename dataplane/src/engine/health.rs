//! The thread that looks after the backends of services, and publishes what it finds out.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, select};

use super::EngineError;
use crate::health::{News, Prober};
use crate::snapshot::Publisher;
use crate::tables::Tables;

/// Between two looks at what is due.
const TICK: Duration = Duration::from_millis(10);
/// The same while nothing is checked.
const IDLE: Duration = Duration::from_millis(200);

/// What hears of backends that go up or down, with the snapshot in which they are so.
pub type OnHealth = Arc<dyn Fn(&Tables, &[News]) + Send + Sync>;

/// The running thread.
pub(super) struct Health {
    /// Ends it when dropped.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Health {
    /// Starts looking after what `publisher`'s value wants looked after.
    ///
    /// # Errors
    /// [`EngineError::Thread`].
    pub(super) fn start(
        publisher: Arc<Mutex<Publisher<Tables>>>,
        on_health: OnHealth,
    ) -> Result<Health, EngineError> {
        let (stop, stopped) = bounded::<()>(0);
        let tables = current(&publisher);
        let Some((ask, hear)) = tables.sessions().probes().open() else {
            return Err(EngineError::Thread("its work is done by another".into()));
        };
        let run = move || {
            let started = Instant::now();
            let mut prober = Prober::default();
            let mut followed: Option<Arc<Tables>> = None;
            let mut out = Vec::new();
            loop {
                let pause = if prober.checked() > 0 { TICK } else { IDLE };
                select! {
                    recv(hear) -> heard => {
                        if let Ok(heard) = heard {
                            prober.hear(&heard, &mut out);
                        }
                    }
                    recv(stopped) -> _ => return,
                    default(pause) => {}
                }
                let now = started.elapsed().as_millis() as u64;
                // Not while a commit is being made, which takes as long as its devices do.
                if let Ok(publisher) = publisher.try_lock() {
                    let tables = publisher.current();
                    if followed.as_ref().is_none_or(|it| !Arc::ptr_eq(it, &tables)) {
                        prober.follow(&tables, now);
                        followed = Some(tables);
                    }
                }
                prober.poll(now, &mut out);
                for segment in out.drain(..) {
                    _ = ask.try_send(segment); // lost ones are sent again
                }
                let news = prober.take_news();
                if !news.is_empty() {
                    publish(&publisher, &news, &on_health);
                }
            }
        };
        let thread = std::thread::Builder::new().name("health".into()).spawn(run);
        let thread = thread.map_err(|error| EngineError::Thread(error.to_string()))?;
        Ok(Health {
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Ends the thread.
    pub(super) fn shut_down(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn publish(publisher: &Mutex<Publisher<Tables>>, news: &[News], on_health: &OnHealth) {
    let mut publisher = publisher.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(tables) = publisher.current().with_health(news) {
        let tables = Arc::new(tables);
        publisher.publish(tables.clone());
        drop(publisher);
        on_health(&tables, news);
    }
}

fn current(publisher: &Mutex<Publisher<Tables>>) -> Arc<Tables> {
    let publisher = publisher.lock().unwrap_or_else(PoisonError::into_inner);
    publisher.current()
}
