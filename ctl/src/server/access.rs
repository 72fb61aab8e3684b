//! Everything a server needs before its engine runs: sockets that are bound,
//! certificates that were read, a log that is open. What is wrong with one of them
//! is known before a device is touched.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::commit::{Commit, Observer};
use super::journal::Journal;
use super::{ControlSocket, SocketError};
use crate::access::tls::{Certificates, TlsError};
use crate::access::{Audit, Limits, Settings, audit};

/// The ways to a server, and what watches over them.
pub struct Access {
    pub(super) read_write: ControlSocket,
    pub(super) read_only: Option<ControlSocket>,
    pub(super) tls: Option<(TcpListener, Arc<Certificates>)>,
    pub(super) limits: Limits,
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) journal: Arc<Journal>,
}

/// Why there is no way to a server. Each displays as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A Unix socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The TCP listener.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The audit log.
    #[error("{0}")]
    Audit(String),
}

impl Access {
    /// Binds `socket` and what else `settings` name.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn open(socket: &Path, settings: Settings) -> Result<Access, AccessError> {
        let read_write = ControlSocket::bind_for(socket, settings.socket)?;
        let read_only = settings.read_only;
        let read_only = read_only
            .map(|(path, permissions)| ControlSocket::bind_for(&path, permissions))
            .transpose()?;
        let audit = settings.audit.map(Audit::open).transpose();
        let audit = audit.map_err(AccessError::Audit)?;
        let mut access = Access::new(read_write, settings.limits);
        access.read_only = read_only;
        access.audit = audit.map(Arc::new);
        if let Some(tls) = settings.tls {
            let listen = tls.listen;
            let certificates = Certificates::load(tls)?;
            let listener = TcpListener::bind(listen).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok(listener)
            });
            let listener = listener.map_err(|error| TlsError::Listen(listen, error))?;
            access.tls = Some((listener, Arc::new(certificates)));
        }
        Ok(access)
    }

    fn new(read_write: ControlSocket, limits: Limits) -> Access {
        Access {
            read_write,
            read_only: None,
            tls: None,
            limits,
            audit: None,
            journal: Arc::new(Journal::new(limits.watch_history)),
        }
    }

    /// Those who must hear of every commit: the history of `Watch`, and the audit log.
    pub fn observers(&self) -> Vec<Observer> {
        let journal = self.journal.clone();
        let mut observers: Vec<Observer> = vec![Box::new(move |commit| journal.commit(commit))];
        if let Some(audit) = self.audit.clone() {
            observers.push(Box::new(move |commit| audit.note(entry(commit))));
        }
        observers
    }
}

/// The socket alone, and default limits.
impl From<ControlSocket> for Access {
    fn from(socket: ControlSocket) -> Access {
        Access::new(socket, Limits::default())
    }
}

fn entry(commit: &Commit<'_>) -> audit::Entry {
    audit::Entry::Commit(audit::Commit {
        time: SystemTime::now(),
        caller: commit.caller.name.clone(),
        owner: commit.owner.to_owned(),
        before: commit.before.clone(),
        after: commit.after.clone(),
        changed: commit.changed.clone(),
    })
}
