//! A vrouterd within the test: the real engine and server over devices in
//! memory, on a socket in a directory of its own.

#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "each test program uses its part")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::JoinHandle;

use ctl::access::Settings;
use ctl::client::Client;
use ctl::files::ObjectFiles;
use ctl::proto::ApplyRequest;
use ctl::proto::vrouter_client::VrouterClient;
use ctl::server::{Access, Commits, Metrics, serve};
use ctl::state::State;
use dataplane::engine::{Config, Engine, Idle};
use dataplane::io::memory;
use dataplane::stage::fragments::Limits;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tonic::transport::{Channel, Endpoint};

/// A running daemon; it stops when dropped.
pub(crate) struct Daemon {
    pub(crate) dir: TempDir,
    pub(crate) devices: memory::Devices,
    /// Where its metrics are.
    pub(crate) metrics: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Without state.
    pub(crate) fn start() -> Daemon {
        Daemon::start_with(|_| Settings::default())
    }

    /// With what `settings` says of access, for a daemon in this directory.
    pub(crate) fn start_with(settings: impl FnOnce(&Path) -> Settings) -> Daemon {
        Daemon::assemble(None, memory::Devices::new(), settings)
    }

    /// With state in this directory.
    pub(crate) fn start_in(state: &Path) -> Daemon {
        Daemon::start_with_devices(Some(state), memory::Devices::new())
    }

    pub(crate) fn start_with_devices(state: Option<&Path>, devices: memory::Devices) -> Daemon {
        Daemon::assemble(state, devices, |_| Settings::default())
    }

    fn assemble(
        state: Option<&Path>,
        devices: memory::Devices,
        settings: impl FnOnce(&Path) -> Settings,
    ) -> Daemon {
        let (state, saved) = state.map(|dir| State::open(dir).unwrap()).unzip();
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            cores: vec![core_affinity::get_core_ids().unwrap()[0].id],
            flows: 1024,
            flow_memory: dataplane::memory::Settings::default(),
            seed: [1, 2, 3, 4],
            timeouts: flowtable::Timeouts::default(),
            fragments: Default::default(),
            reassembly: Limits::REASSEMBLY,
            icmp_errors_per_second: 100,
            idle: Idle::Adaptive,
            pools: vec![Box::new(memory::Pool)],
            on_health: Arc::new(|_, _| {}),
            on_thread: Arc::new(|| Box::new(())),
        };
        let mut engine = Engine::start(config, Box::new(devices.clone())).unwrap();
        let saved = saved.unwrap_or_default();
        engine.restore(saved.generation, &saved.objects).unwrap();
        let access = Access::open(&dir.path().join("ctl.sock"), settings(dir.path())).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (started, metrics) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let commits = Commits::new(engine, state, access.observers()).unwrap();
            let engine = runtime().block_on(async {
                let anywhere = ([127, 0, 0, 1], 0).into();
                let metrics = Metrics::start(anywhere, &commits).await.unwrap();
                started.send(metrics.addr()).unwrap();
                serve(commits, access, async { _ = stopped.await }).await
            });
            let engine = engine.unwrap();
            engine.unwrap().stop();
        });
        Daemon {
            dir,
            devices,
            metrics: metrics.blocking_recv().ok(),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("ctl.sock")
    }

    pub(crate) fn stop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// The protocol as any language generates it, over another of the daemon's sockets too.
    pub(crate) async fn raw(&self, socket: &str) -> VrouterClient<Channel> {
        VrouterClient::new(self.channel(socket).await)
    }

    pub(crate) async fn channel(&self, socket: &str) -> Channel {
        self.channel_with_window(socket, None).await
    }

    /// Of a client that takes so many bytes before it reads on.
    pub(crate) async fn channel_with_window(&self, socket: &str, window: Option<u32>) -> Channel {
        let socket = self.dir.path().join(socket);
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move {
                let stream = tokio::net::UnixStream::connect(socket).await?;
                Ok::<_, std::io::Error>(hyper_util::rt::TokioIo::new(stream))
            }
        });
        Endpoint::from_static("http://localhost")
            .initial_stream_window_size(window)
            .connect_with_connector(connector)
            .await
            .unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(&self.socket()).await.unwrap()
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Runs vrctl to its end.
    pub(crate) fn vrctl(&self, args: &[&str]) -> Said {
        Said::of(self.vrctl_command().args(args).output().unwrap())
    }

    pub(crate) fn vrctl_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrctl"));
        command.arg("--socket").arg(self.socket());
        command
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.stop();
        }
    }
}

/// A request for the objects of a file, in the name of `owner`.
pub(crate) fn upserts(owner: &str, text: &str) -> ApplyRequest {
    let mut files = ObjectFiles::default();
    files.read("test", text);
    files.request(owner)
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Said {
        Said {
            status: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Two tenants with the same addresses.
pub(crate) const NET: &str = r#"
vrfs:
  - {name: front, gateways: [10.1.0.1/24, "fd01::1/64"]}
  - {name: back, gateways: [10.1.0.1/24], mode: routed}
nexthops:
  - {name: nowhere, discard: {}}
  - {name: kernel, host: true}
routes:
  - {vrf: front, prefix: 10.2.0.0/16, nexthop: nowhere}
  - {vrf: back, prefix: "fd02::/64", nexthop: nowhere}
macs:
  - {vrf: front, mac: "02:00:00:00:09:09", nexthop: nowhere, ip: 10.1.0.9}
vnis:
  - {vni: 5001, vrf: front}
"#;

/// A UDP packet of 10.1.0.`from` to port `port` of 10.1.0.6, sent to the virtual
/// router (RFC 768 with no checksum, RFC 791).
pub(crate) fn udp_frame(from: u8, port: u8) -> Vec<u8> {
    let mut frame = vec![0, 0, 0x5e, 0, 1, 0, 2, 0, 0, 0, 1, 5, 0x08, 0];
    let mut ip = [
        0x45, 0, 0, 32, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 0, from, 10, 1, 0, 6,
    ];
    let words = ip
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ip[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    frame.extend(ip);
    frame.extend([0x10, 0, 0, port, 0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}
