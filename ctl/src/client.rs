//! The protocol's client over a Unix socket, with errors that are sentences.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hyper_util::rt::TokioIo;
use prost::Message as _;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::proto::vrouter_client::VrouterClient;
use crate::proto::{self, MAX_MESSAGE_LEN};

/// A connection to one vrouterd. Clones share it.
#[derive(Clone)]
pub struct Client {
    inner: VrouterClient<Channel>,
}

/// Why the daemon could not be asked. Each displays as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection to the socket.
    #[error("{}", connect_sentence(.socket, .source))]
    Connect {
        /// Where a daemon was looked for.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A request the daemon would not read.
    #[error(
        "the request is {len} bytes long and a message to vrouterd has at most \
         {MAX_MESSAGE_LEN}; split it into several files"
    )]
    TooLarge {
        /// Of the request, in bytes.
        len: usize,
    },
    /// The daemon answered that it will not do this.
    #[error("{0}")]
    Refused(String),
    /// The call ended without an answer.
    #[error("vrouterd did not answer: {}", .0.message())]
    Status(Box<Status>),
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match status.code() {
            Code::InvalidArgument
            | Code::NotFound
            | Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::OutOfRange => Error::Refused(status.message().into()),
            _ => Error::Status(Box::new(status)),
        }
    }
}

impl Client {
    /// Connects to the daemon that listens on `socket`.
    ///
    /// # Errors
    /// [`Error::Connect`].
    pub async fn connect(socket: &Path) -> Result<Client, Error> {
        let failed = |source| Error::Connect {
            socket: socket.into(),
            source,
        };
        // Connected here rather than inside the channel, so that the reason
        // for a failure is the system's own.
        let stream = UnixStream::connect(socket).await.map_err(failed)?;
        let stream = Mutex::new(Some(TokioIo::new(stream)));
        let connector = tower::service_fn(move |_| {
            let stream = stream.lock().ok().and_then(|mut slot| slot.take());
            async move { stream.ok_or(io::Error::from(io::ErrorKind::NotConnected)) }
        });
        // The address is never looked up, but HTTP/2 wants an authority.
        let channel = Endpoint::from_static("http://localhost")
            .connect_with_connector(connector)
            .await
            .map_err(|error| failed(io::Error::other(error)))?;
        Ok(Client {
            inner: VrouterClient::new(channel).max_decoding_message_size(MAX_MESSAGE_LEN),
        })
    }

    /// Asks for a change; a refusal is a response.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is sent; [`Error::Refused`] only for
    /// requests the daemon cannot read; [`Error::Status`].
    pub async fn apply(
        &mut self,
        request: proto::ApplyRequest,
    ) -> Result<proto::ApplyResponse, Error> {
        let len = request.encoded_len();
        if len > MAX_MESSAGE_LEN {
            return Err(Error::TooLarge { len });
        }
        Ok(self.inner.apply(request).await?.into_inner())
    }

    /// Who answers, and what it can do.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn hello(&mut self) -> Result<proto::HelloResponse, Error> {
        let request = proto::HelloRequest {
            client: concat!("vrctl ", env!("CARGO_PKG_VERSION")).into(),
        };
        Ok(self.inner.hello(request).await?.into_inner())
    }

    /// What happens, as it happens.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`], also while reading the stream.
    pub async fn watch(
        &mut self,
        request: proto::WatchRequest,
    ) -> Result<Streaming<proto::WatchResponse>, Error> {
        Ok(self.inner.watch(request).await?.into_inner())
    }

    /// One object; `None` when there is none under this key.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn get(&mut self, key: proto::Key) -> Result<Option<proto::GetResponse>, Error> {
        match self.inner.get(proto::GetRequest { key: Some(key) }).await {
            Ok(response) => Ok(Some(response.into_inner())),
            Err(status) if status.code() == Code::NotFound => Ok(None),
            Err(status) => Err(status.into()),
        }
    }

    /// All objects of `kinds` (none named: of every kind) and of `owner` (none
    /// named: of everybody), and their generation.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn list(
        &mut self,
        kinds: &[proto::Kind],
        owner: Option<String>,
    ) -> Result<(Vec<proto::StoredObject>, u64), Error> {
        let request = proto::ListRequest {
            kinds: kinds.iter().map(|kind| (*kind).into()).collect(),
            owner,
        };
        let mut stream = self.inner.list(request).await?.into_inner();
        let mut objects = Vec::new();
        let mut generation = 0;
        while let Some(response) = stream.message().await? {
            generation = response.generation;
            objects.extend(response.objects);
        }
        Ok((objects, generation))
    }

    /// The live flows that match, some at a time.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`], also while reading the stream.
    pub async fn flows(
        &mut self,
        request: proto::FlowsRequest,
    ) -> Result<Streaming<proto::FlowsResponse>, Error> {
        Ok(self.inner.flows(request).await?.into_inner())
    }

    /// Ends the flows that match; how many those were.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn clear_flows(&mut self, request: proto::FlowsRequest) -> Result<u64, Error> {
        Ok(self.inner.clear_flows(request).await?.into_inner().cleared)
    }

    /// What becomes of packets.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn explain(
        &mut self,
        request: proto::ExplainRequest,
    ) -> Result<proto::ExplainResponse, Error> {
        Ok(self.inner.explain(request).await?.into_inner())
    }

    /// The learned MACs of a vrf, or of all.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn learned_macs(
        &mut self,
        vrf: Option<String>,
    ) -> Result<Vec<proto::LearnedMac>, Error> {
        let request = proto::LearnedMacsRequest { vrf };
        let mut stream = self.inner.learned_macs(request).await?.into_inner();
        let mut macs = Vec::new();
        while let Some(response) = stream.message().await? {
            macs.extend(response.macs);
        }
        Ok(macs)
    }

    /// Counters since start.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`].
    pub async fn stats(&mut self) -> Result<proto::StatsResponse, Error> {
        let request = proto::StatsRequest { rules: false };
        Ok(self.inner.stats(request).await?.into_inner())
    }

    /// Packets as they pass vifs, until the stream is dropped.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`], also while reading the stream.
    pub async fn capture(
        &mut self,
        request: proto::CaptureRequest,
    ) -> Result<Streaming<proto::CaptureResponse>, Error> {
        Ok(self.inner.capture(request).await?.into_inner())
    }

    /// Dropped packets of late, and future ones if that is asked for.
    ///
    /// # Errors
    /// [`Error::Refused`], [`Error::Status`], also while reading the stream.
    pub async fn dropped_packets(
        &mut self,
        request: proto::DroppedPacketsRequest,
    ) -> Result<Streaming<proto::DroppedPacketsResponse>, Error> {
        Ok(self.inner.dropped_packets(request).await?.into_inner())
    }

    /// The same with the counters of rules, for which all flows are gone through.
    ///
    /// # Errors
    /// If the daemon does not answer.
    pub async fn stats_with_rules(&mut self) -> Result<proto::StatsResponse, Error> {
        let request = proto::StatsRequest { rules: true };
        Ok(self.inner.stats(request).await?.into_inner())
    }
}

fn connect_sentence(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound => format!(
            "no vrouterd listens on {socket}: there is no such socket; start vrouterd, or name its socket with --socket"
        ),
        io::ErrorKind::ConnectionRefused => format!(
            "no vrouterd listens on {socket}: the one that made the socket is gone; start vrouterd again"
        ),
        io::ErrorKind::PermissionDenied => format!(
            "{socket} may not be used by this user; become root or a member of the socket's group"
        ),
        _ => format!("cannot reach vrouterd on {socket}: {error}"),
    }
}
