//! The control socket: one daemon listens on it, and it goes with the daemon.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::access::Permissions;

/// A bound control socket. Its file is removed when this is dropped, unless
/// somebody else has put another one in its place.
pub struct ControlSocket {
    listener: UnixListener,
    _file: SocketFile,
}

/// Why there is no socket. Each displays as one sentence.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another daemon listens there.
    #[error(
        "socket {0} is in use by another vrouterd; stop that one, or give this one \
         another path with `socket`"
    )]
    InUse(PathBuf),
    /// Something else is there.
    #[error(
        "socket {0}: there is a file of that name which is no socket; remove it or choose another path"
    )]
    NotASocket(PathBuf),
    /// The system refused.
    #[error("socket {path} cannot be made: {source}{}", remedy(.source))]
    Refused {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl ControlSocket {
    /// Makes the socket and its directory. One that a dead daemon left behind
    /// is replaced. Clients that connect before the server runs wait for it.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path) -> Result<ControlSocket, SocketError> {
        ControlSocket::bind_for(path, Permissions::default())
    }

    /// The same for those whom `permissions` name.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind_for(path: &Path, permissions: Permissions) -> Result<ControlSocket, SocketError> {
        let refused = |source| SocketError::Refused {
            path: path.into(),
            source,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(refused)?;
        }
        clear_the_way(path)?;
        // Between bind and chmod the umask rules, which gives nobody more.
        let listener = UnixListener::bind(path).map_err(|error| match error.kind() {
            // Another daemon was faster than us since we looked.
            ErrorKind::AddrInUse => SocketError::InUse(path.into()),
            _ => refused(error),
        })?;
        let file = SocketFile::at(path).map_err(refused)?;
        // First whose it is, then what they may.
        chown(path, permissions.uid, permissions.gid).map_err(refused)?;
        let mode = fs::Permissions::from_mode(permissions.mode);
        fs::set_permissions(path, mode).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        Ok(ControlSocket {
            listener,
            _file: file,
        })
    }

    /// The listener, non-blocking; clones share the socket.
    ///
    /// # Errors
    /// When the process has no file descriptors left.
    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

/// Removes the socket of a daemon that is gone.
fn clear_the_way(path: &Path) -> Result<(), SocketError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.into()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|source| SocketError::Refused {
                path: path.into(),
                source,
            }),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(SocketError::Refused {
            path: path.into(),
            source: error,
        }),
        // Connected, or too many wait to be: somebody listens.
        _ => Err(SocketError::InUse(path.into())),
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied => {
            "; run as root, or set `socket` to a path in a directory of this user"
        }
        ErrorKind::InvalidInput => "; a socket's path is shorter than 108 bytes",
        _ => "",
    }
}

/// The file in the directory, known by its inode.
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn at(path: &Path) -> io::Result<SocketFile> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(SocketFile {
            path: path.into(),
            id: (metadata.dev(), metadata.ino()),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let now = SocketFile::at_id(&self.path);
        if now == Some(self.id) {
            // Nothing to be done if it fails: the process is on its way out.
            _ = fs::remove_file(&self.path);
        }
    }
}

impl SocketFile {
    fn at_id(path: &Path) -> Option<(u64, u64)> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some((metadata.dev(), metadata.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_comes_with_its_directory_and_goes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/ctl.sock");
        let socket = ControlSocket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        drop(socket);
        assert!(!path.exists() && path.parent().unwrap().exists());
    }

    #[test]
    fn a_second_daemon_is_refused_and_the_first_keeps_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctl.sock");
        let _first = ControlSocket::bind(&path).unwrap();
        let error = ControlSocket::bind(&path).err().unwrap();
        assert!(
            error.to_string().contains("in use by another vrouterd"),
            "{error}"
        );
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn the_socket_of_a_dead_daemon_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctl.sock");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        assert!(ControlSocket::bind(&path).is_ok());
    }

    #[test]
    fn a_file_of_that_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ctl.sock");
        fs::write(&path, "precious").unwrap();
        let error = ControlSocket::bind(&path).err().unwrap();
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_path_that_is_too_long_is_named() {
        let path = PathBuf::from(format!("/tmp/{}/ctl.sock", "x".repeat(120)));
        let error = ControlSocket::bind(&path).err().unwrap();
        _ = fs::remove_dir(path.parent().unwrap());
        assert!(
            error.to_string().contains("shorter than 108 bytes"),
            "{error}"
        );
    }
}
