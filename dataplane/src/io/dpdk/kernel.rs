//! What the safe layer asks the kernel: CPU affinity, privileges, and the state
//! of the interfaces that some devices stand on.

use std::ffi::{CString, c_int};
use std::fs;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// The CPUs that the calling thread may run on, ascending.
pub(super) fn affinity() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero set is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the size given.
    let status = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    let all = 0..libc::CPU_SETSIZE as usize;
    // SAFETY: every number is below the set's size.
    Ok(all
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect())
}

/// Moves the calling thread to these CPUs.
pub(super) fn set_affinity(cpus: &[usize]) -> io::Result<()> {
    // SAFETY: an all-zero set is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in cpus {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        // SAFETY: the number is below the set's size.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the kernel reads the size given.
    match unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A privilege, by its number in capabilities(7).
#[derive(Clone, Copy)]
pub(super) enum Capability {
    NetAdmin = 12,
    NetRaw = 13,
}

/// Whether this thread has a privilege; yes when in doubt.
pub(super) fn may(capability: Capability) -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(u64::MAX);
    effective >> capability as u32 & 1 == 1
}

/// Whether there is a network interface of that name in the calling thread's
/// network namespace. (`/sys` shows the namespace it was mounted in.)
pub(super) fn interface_exists(name: &str) -> bool {
    interface_index(name).is_some()
}

/// The index of the interface of that name, as [`interface_exists`].
pub(super) fn interface_index(name: &str) -> Option<u32> {
    let name = CString::new(name).ok()?;
    // SAFETY: `name` is a C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// MTU of the interface with that index, in bytes; `None` if it is gone.
pub(super) fn interface_mtu(index: u32) -> Option<u16> {
    let answer = ask(index, libc::SIOCGIFMTU, |_| {}).ok()?;
    // SAFETY: the kernel filled this member for this request.
    let mtu = unsafe { answer.ifr_ifru.ifru_mtu };
    Some(u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// Sets the MTU of the interface with that index, in bytes.
pub(super) fn set_interface_mtu(index: u32, mtu: u16) -> io::Result<()> {
    ask(index, libc::SIOCSIFMTU, |request| {
        request.ifr_ifru.ifru_mtu = mtu.into();
    })?;
    Ok(())
}

/// Whether the interface with that index is up and has a carrier.
pub(super) fn interface_runs(index: u32) -> bool {
    let Ok(answer) = ask(index, libc::SIOCGIFFLAGS, |_| {}) else {
        return false;
    };
    // SAFETY: the kernel filled this member for this request.
    let flags = c_int::from(unsafe { answer.ifr_ifru.ifru_flags });
    let both = libc::IFF_UP | libc::IFF_RUNNING;
    flags & both == both
}

/// One question about an interface, or order to it (netdevice(7)).
fn ask(
    index: u32,
    request: libc::c_ulong,
    fill_in: impl FnOnce(&mut libc::ifreq),
) -> io::Result<libc::ifreq> {
    // Any socket will do; this kind needs no interface that is up, not even loopback.
    let socket = UnixDatagram::unbound()?;
    // SAFETY: all zeroes are a valid request with an empty name.
    let mut question: libc::ifreq = unsafe { mem::zeroed() };
    // SAFETY: the name has the IF_NAMESIZE bytes that the call may write.
    let named = unsafe { libc::if_indextoname(index, question.ifr_name.as_mut_ptr()) };
    if named.is_null() {
        return Err(io::Error::last_os_error());
    }
    fill_in(&mut question);
    // SAFETY: the descriptor is open and `question` is what the request takes.
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), request, &mut question) };
    match status {
        0 => Ok(question),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn affinity_can_be_narrowed() {
        std::thread::spawn(|| {
            let cpus = affinity().unwrap();
            set_affinity(&cpus[..1]).unwrap();
            assert_eq!(affinity().unwrap(), cpus[..1]);
            assert!(set_affinity(&[100_000]).is_err());
        })
        .join()
        .unwrap();
    }

    #[test]
    fn loopback_exists_and_nonsense_does_not() {
        assert!(interface_exists("lo"));
        assert!(!interface_exists("no\0such"));
        assert!(!interface_exists("vr-none"));
        assert_eq!(interface_mtu(1), Some(u16::MAX));
        assert_eq!(interface_mtu(u32::MAX), None);
        assert!(!interface_runs(u32::MAX));
    }
}
