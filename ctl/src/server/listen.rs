//! Accepts connections and finds out who made them.
//!
//! All ways lead into one stream, which the server reads. What is beyond the
//! limit is closed at once; a TLS handshake has ten seconds and its own task, so
//! that nobody waits for a client that does not go on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::access::Access;
use crate::access::tls::Certificates;
use crate::access::{Caller, Role};

/// A client that does not finish its handshake in this time is closed out.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// After an accept that failed, which is when there are no file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Connections as they come, from every way that `access` has.
pub(super) fn connections(
    access: &Access,
) -> io::Result<ReceiverStream<Result<Connection, io::Error>>> {
    let (sender, receiver): (_, Receiver<io::Result<Connection>>) = mpsc::channel(16);
    let reception = Reception {
        sender,
        open: Arc::new(AtomicUsize::new(0)),
        most: access.limits.connections,
    };
    let sockets = [
        (Some(&access.read_write), Role::ReadWrite),
        (access.read_only.as_ref(), Role::ReadOnly),
    ];
    for (socket, role) in sockets {
        if let Some(socket) = socket {
            let listener = UnixListener::from_std(socket.listener()?)?;
            tokio::spawn(reception.clone().accept_unix(listener, role));
        }
    }
    if let Some((listener, certificates)) = &access.tls {
        let listener = TcpListener::from_std(listener.try_clone()?)?;
        tokio::spawn(reception.accept_tls(listener, certificates.clone()));
    }
    Ok(ReceiverStream::new(receiver))
}

/// Where connections arrive.
#[derive(Clone)]
struct Reception {
    sender: Sender<io::Result<Connection>>,
    open: Arc<AtomicUsize>,
    most: usize,
}

impl Reception {
    async fn accept_unix(self, listener: UnixListener, role: Role) {
        while !self.sender.is_closed() {
            let Some((stream, _)) = accepted(listener.accept().await).await else {
                continue;
            };
            let Ok(peer) = stream.peer_cred() else {
                continue;
            };
            let caller = Caller::process(peer.uid(), peer.pid(), role);
            let Some(slot) = self.slot(&caller) else {
                continue;
            };
            let stream = Stream::Unix(stream);
            self.let_in(stream, caller, slot).await;
        }
    }

    async fn accept_tls(self, listener: TcpListener, certificates: Arc<Certificates>) {
        while !self.sender.is_closed() {
            let Some((stream, from)) = accepted(listener.accept().await).await else {
                continue;
            };
            let Some(slot) = self.slot(&from) else {
                continue;
            };
            let (reception, certificates) = (self.clone(), certificates.clone());
            tokio::spawn(async move {
                // Small answers should not wait for each other.
                _ = stream.set_nodelay(true);
                let handshake = certificates.acceptor().accept(stream);
                let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
                    Ok(Ok(stream)) => stream,
                    Ok(Err(error)) => return tracing::warn!("tls: {from}: {error}"),
                    Err(_) => return tracing::warn!("tls: {from}: no handshake in ten seconds"),
                };
                let (_, session) = stream.get_ref();
                let shown = session.peer_certificates().and_then(<[_]>::first);
                // Always: the verifier insists on one.
                let Some(certificate) = shown else { return };
                let caller = certificates.caller(certificate);
                tracing::debug!("{caller} connected from {from}");
                let stream = Stream::Tls(Box::new(stream));
                reception.let_in(stream, caller, slot).await;
            });
        }
    }

    async fn let_in(&self, stream: Stream, caller: Caller, slot: Slot) {
        let connection = Connection {
            stream,
            caller,
            _slot: slot,
        };
        // The server goes first when the daemon stops.
        _ = self.sender.send(Ok(connection)).await;
    }

    /// A place among the connections, unless there are too many.
    fn slot(&self, who: &dyn std::fmt::Display) -> Option<Slot> {
        let slot = Slot(self.open.clone());
        let most = self.most;
        if self.open.fetch_add(1, Ordering::Relaxed) < most {
            return Some(slot);
        }
        tracing::warn!("limits.connections: there are {most} already, so {who} was closed out");
        None
    }
}

async fn accepted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!("no connection was accepted: {error}");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

/// One of the connections that there may be at once.
struct Slot(Arc<AtomicUsize>);

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection and who made it.
pub(super) struct Connection {
    stream: Stream,
    caller: Caller,
    _slot: Slot,
}

enum Stream {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected for Connection {
    /// Found among the extensions of every request.
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
