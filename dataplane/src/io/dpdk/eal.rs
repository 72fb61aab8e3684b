//! Starting DPDK's environment (EAL): memory, log, buses. Once per process.

use std::ffi::{CStr, CString, c_char, c_int};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{ptr, thread};

use super::log::{self, LogLevel, LogSink};
use super::{Memory, WorkerThread, kernel};

/// How to start DPDK. The default suits virtual devices on any machine.
#[derive(Clone, Debug)]
pub struct EalOptions {
    /// Kind of pages; see [`Memory::detect`].
    pub memory: Memory,
    /// Memory for buffers and rings, in MiB. A buffer takes about 2.4 KiB.
    pub megabytes: u32,
    /// Whether devices on the PCI bus can be opened. None is touched before it
    /// is opened by name.
    pub pci: bool,
    /// CPUs that DPDK's own threads (interrupts, alarms) may run on; those of the
    /// calling thread when empty. Leave out the cores of the workers.
    pub control_cores: Vec<usize>,
    /// The least serious messages to pass on.
    pub log_level: LogLevel,
    /// Where messages go.
    pub log: LogSink,
    /// Further EAL arguments, as on the command line of any DPDK program.
    pub extra: Vec<String>,
}

impl Default for EalOptions {
    fn default() -> Self {
        Self {
            memory: Memory::NoHuge,
            megabytes: 128,
            pci: false,
            control_cores: Vec::new(),
            log_level: LogLevel::Warning,
            log: log::to_stderr,
            extra: Vec::new(),
        }
    }
}

impl EalOptions {
    /// The command line, for control threads on `cores`.
    fn arguments(&self, cores: &[usize]) -> Vec<String> {
        let cores: Vec<_> = cores.iter().map(usize::to_string).collect();
        let mut arguments = vec![
            "vrouter".to_owned(),
            // One lcore only: workers are threads of ours that register.
            format!("--lcores=0@({})", cores.join(",")),
            "-m".to_owned(),
            self.megabytes.to_string(),
            // Physical addresses need root and mean nothing to virtual devices.
            "--iova-mode=va".to_owned(),
            "--no-telemetry".to_owned(),
            format!("--log-level={}", self.log_level.to_dpdk()),
        ];
        match self.memory {
            Memory::Huge => arguments.push("--in-memory".to_owned()),
            Memory::NoHuge => {
                arguments.extend(["--no-huge".to_owned(), "--no-shconf".to_owned()]);
            }
        }
        if self.pci {
            // A list of devices to probe at start with no NIC on it: without
            // any list DPDK would take every NIC that is bound to it. Devices
            // opened later need not be listed.
            arguments.extend(["-a".to_owned(), NO_NIC.to_owned()]);
        } else {
            arguments.push("--no-pci".to_owned());
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// Function 0 of slot 0 is the host bridge on every PC.
const NO_NIC: &str = "0000:00:00.0";

/// The started environment, as a token: who has one may use DPDK. It runs until
/// the process ends.
#[derive(Clone, Copy, Debug)]
pub struct Eal(());

/// Whether somebody has tried to start DPDK; it cannot be tried twice.
static TRIED: AtomicBool = AtomicBool::new(false);

impl Eal {
    /// Starts DPDK. The calling thread keeps its CPU affinity.
    ///
    /// # Errors
    /// [`EalError`]; after any but [`EalError::Argument`] DPDK cannot be started
    /// in this process any more.
    pub fn start(options: &EalOptions) -> Result<Self, EalError> {
        if let Some(bad) = options.extra.iter().find(|text| text.contains('\0')) {
            return Err(EalError::Argument(bad.clone()));
        }
        if TRIED.swap(true, Ordering::SeqCst) {
            return Err(EalError::AlreadyStarted);
        }
        log::open(options.log_level, options.log);
        // DPDK pins the thread that starts it and makes it "lcore 0"; neither
        // is for the caller's thread.
        let options = options.clone();
        let starter = thread::Builder::new()
            .name("dpdk-start".to_owned())
            .spawn(move || init(&options))
            .map_err(|error| EalError::Refused(error.to_string()))?;
        match starter.join() {
            Ok(result) => result,
            Err(_) => unreachable!("init returns its errors"),
        }
    }

    /// Makes the calling thread known to DPDK until the result is dropped, which
    /// gives it a buffer cache of its own. For workers, after pinning.
    ///
    /// # Errors
    /// [`EalError::Refused`] when 128 threads are registered already, or the
    /// calling thread is.
    pub fn register_worker(self) -> Result<WorkerThread, EalError> {
        WorkerThread::register()
    }
}

/// Why DPDK did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EalError {
    /// It was started before; once per process is all it can do.
    AlreadyStarted,
    /// This argument has a zero byte in it.
    Argument(String),
    /// What DPDK said.
    Refused(String),
}

impl fmt::Display for EalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyStarted => write!(
                f,
                "DPDK can be started only once in a process, and was already"
            ),
            Self::Argument(text) => write!(f, "EAL argument {text:?} has a zero byte in it"),
            Self::Refused(said) => write!(
                f,
                "DPDK refused: {said}; check the EAL arguments, and that the memory asked for is free"
            ),
        }
    }
}

impl std::error::Error for EalError {}

/// Runs on a thread of its own and leaves it pinned.
fn init(options: &EalOptions) -> Result<Eal, EalError> {
    if !options.control_cores.is_empty() {
        kernel::set_affinity(&options.control_cores)
            .map_err(|error| EalError::Refused(format!("control cores: {error}")))?;
    }
    let cores = kernel::affinity().map_err(|error| EalError::Refused(error.to_string()))?;
    let (status, said) = log::collect(|| rte_eal_init(&options.arguments(&cores)));
    match status {
        0.. if said.is_empty() => Ok(Eal(())),
        0.. => {
            log::write(LogLevel::Error, &said);
            Ok(Eal(()))
        }
        _ if said.is_empty() => Err(EalError::Refused(errno())),
        _ => Err(EalError::Refused(said)),
    }
}

fn rte_eal_init(arguments: &[String]) -> c_int {
    let mut argv: Vec<*mut c_char> = arguments
        .iter()
        .map(|text| CString::new(text.as_str()).unwrap_or_default().into_raw())
        .collect();
    let argc = argv.len() as c_int;
    argv.push(ptr::null_mut());
    // SAFETY: `argv` is what C's main gets. DPDK may keep pointers into both,
    // and reorders the array; they are leaked, once per process.
    unsafe { dpdk_sys::rte_eal_init(argc, argv.leak().as_mut_ptr()) }
}

/// The text of `rte_errno`.
pub(super) fn errno() -> String {
    // SAFETY: reads a thread-local variable.
    strerror(unsafe { dpdk_sys::vr_errno() })
}

/// The text of an errno, positive as in `rte_errno` or negative as returned.
pub(super) fn strerror(errno: c_int) -> String {
    // SAFETY: returns a string that lives until this thread asks again.
    let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(errno.abs())) };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_arguments() {
        let options = EalOptions {
            memory: Memory::Huge,
            megabytes: 512,
            extra: vec!["--single-file-segments".to_owned()],
            ..EalOptions::default()
        };
        let line = options.arguments(&[0, 3]).join(" ");
        assert_eq!(
            line,
            "vrouter --lcores=0@(0,3) -m 512 --iova-mode=va --no-telemetry --log-level=5 \
             --in-memory --no-pci --single-file-segments"
        );
    }

    #[test]
    fn ordinary_pages_share_no_configuration() {
        let line = EalOptions::default().arguments(&[0]).join(" ");
        assert!(line.contains("--no-huge --no-shconf"));
    }
}
