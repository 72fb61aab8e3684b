//! The keys `access`, `tls`, `audit` and `limits` of the node file, checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use nix::unistd::{Group, User};

use super::Limits;
use crate::proto;

/// Everything about access but the path of the first socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Of the socket whose callers read and write.
    pub socket: Permissions,
    /// A socket whose callers only read.
    pub read_only: Option<(PathBuf, Permissions)>,
    /// The protocol over TCP.
    pub tls: Option<Tls>,
    /// Where changes are written down.
    pub audit: Option<Audit>,
    /// What callers can ask for.
    pub limits: Limits,
}

/// Who may open a socket's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// The user it belongs to; `None`: the daemon's.
    pub uid: Option<u32>,
    /// The group it belongs to; `None`: the daemon's.
    pub gid: Option<u32>,
    /// Its mode.
    pub mode: u32,
}

impl Default for Permissions {
    /// Owner and group may connect: who is in the group is the operator's choice.
    fn default() -> Permissions {
        Permissions {
            uid: None,
            gid: None,
            mode: 0o660,
        }
    }
}

/// See `TlsListener` in `config.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The daemon's certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The CAs of clients.
    pub client_ca: PathBuf,
    /// Names of clients that read and write.
    pub read_write: Vec<String>,
    /// Names of clients that only read.
    pub read_only: Vec<String>,
}

/// See `Audit` in `config.proto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The file.
    pub path: PathBuf,
    /// When it is set aside.
    pub max_bytes: u64,
    /// Files that are kept.
    pub files: u32,
    /// Objects shown of one commit.
    pub objects_per_commit: usize,
}

impl Settings {
    /// What the node file says.
    ///
    /// # Errors
    /// Everything that is wrong with it, as key of the node file and sentence.
    pub fn new(written: &proto::NodeConfig) -> Result<Settings, Vec<(&'static str, String)>> {
        let mut mistakes = Vec::new();
        let mut settings = Settings::default();
        if let Some(access) = &written.access {
            let mut note = |reason| mistakes.push(("access", reason));
            settings.socket =
                permissions("", &access.owner, &access.group, &access.mode, &mut note);
            settings.read_only = access.read_only.as_ref().map(|it| {
                if it.path.is_empty() || written.socket.as_ref() == Some(&it.path) {
                    note("read_only: path: write one that is not `socket`".into());
                }
                let permissions =
                    permissions("read_only: ", &it.owner, &it.group, &it.mode, &mut note);
                (PathBuf::from(&it.path), permissions)
            });
        }
        if let Some(written) = &written.tls {
            settings.tls = tls(written, &mut |reason| mistakes.push(("tls", reason)));
        }
        if let Some(written) = &written.audit {
            settings.audit = Some(audit(written, &mut |reason| {
                mistakes.push(("audit", reason));
            }));
        }
        if let Some(written) = &written.limits {
            settings.limits = Limits::new(written);
            let wrong = settings.limits.out_of_range();
            mistakes.extend(wrong.into_iter().map(|reason| ("limits", reason)));
        }
        match mistakes.is_empty() {
            true => Ok(settings),
            false => Err(mistakes),
        }
    }
}

fn permissions(
    of: &str,
    owner: &str,
    group: &str,
    mode: &str,
    note: &mut impl FnMut(String),
) -> Permissions {
    let mut permissions = Permissions::default();
    if !owner.is_empty() {
        permissions.uid = owner.parse().ok().or_else(|| {
            let user = User::from_name(owner).ok().flatten();
            user.map(|user| user.uid.as_raw())
        });
        if permissions.uid.is_none() {
            note(format!("{of}owner: this system has no user `{owner}`"));
        }
    }
    if !group.is_empty() {
        permissions.gid = group.parse().ok().or_else(|| {
            let group = Group::from_name(group).ok().flatten();
            group.map(|group| group.gid.as_raw())
        });
        if permissions.gid.is_none() {
            note(format!("{of}group: this system has no group `{group}`"));
        }
    }
    if !mode.is_empty() {
        match u32::from_str_radix(mode, 8) {
            Ok(bits @ 0o600..=0o666) if bits & 0o111 == 0 => permissions.mode = bits,
            _ => note(format!(
                "{of}mode: wants octal permissions from \"0600\" to \"0666\", not `{mode}`"
            )),
        }
    }
    permissions
}

fn tls(written: &proto::TlsListener, note: &mut impl FnMut(String)) -> Option<Tls> {
    for (key, path) in [
        ("certificate", &written.certificate),
        ("key", &written.key),
        ("client_ca", &written.client_ca),
    ] {
        if path.is_empty() {
            note(format!("{key}: is missing; write the path of a PEM file"));
        }
    }
    if written.read_write.is_empty() && written.read_only.is_empty() {
        note("read_write: nobody could call; name the clients' certificates, or \"*\"".into());
    }
    let listen = written.listen.parse();
    if listen.is_err() {
        note(format!(
            "listen: wants an address and a port, as in 192.0.2.10:7433, not `{}`",
            written.listen
        ));
    }
    Some(Tls {
        listen: listen.ok()?,
        certificate: (&written.certificate).into(),
        key: (&written.key).into(),
        client_ca: (&written.client_ca).into(),
        read_write: written.read_write.clone(),
        read_only: written.read_only.clone(),
    })
}

fn audit(written: &proto::Audit, note: &mut impl FnMut(String)) -> Audit {
    let audit = Audit {
        path: (&written.path).into(),
        max_bytes: written.max_bytes.unwrap_or(64 << 20),
        files: written.files.unwrap_or(8),
        objects_per_commit: written.objects_per_commit.unwrap_or(1000) as usize,
    };
    if written.path.is_empty() {
        note("path: is missing; write where the log goes".into());
    }
    let ranges = [
        ("max_bytes", audit.max_bytes, 1 << 16..=1 << 40),
        ("files", audit.files.into(), 1..=1000),
        (
            "objects_per_commit",
            audit.objects_per_commit as u64,
            0..=1_000_000,
        ),
    ];
    for (key, value, range) in ranges {
        if !range.contains(&value) {
            let (min, max) = range.into_inner();
            note(format!("{key}: {value} is out of range, {min} to {max}"));
        }
    }
    audit
}

#[cfg(test)]
mod tests {
    use crate::config::NodeConfig;

    fn said(text: &str) -> Vec<String> {
        let mistakes = NodeConfig::parse("node.yaml", text).err().unwrap();
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_key_of_access_is_read() {
        let text = r#"
access: {owner: root, group: "7", mode: "0600", read_only: {path: /tmp/v.sock, mode: "0666"}}
tls:
  {listen: "[::1]:7433", certificate: a, key: b, client_ca: c, read_write: [x.test], read_only: ["*"]}
audit: {path: /tmp/audit, max_bytes: 65536, files: 2, objects_per_commit: 0}
limits:
  {message_bytes: 65536, changes_per_apply: 1, calls: 4, connections: 2, slow_reader_ms: 100, watch_history: 1}
"#;
        let access = NodeConfig::parse("node.yaml", text).unwrap().access;
        assert_eq!((access.socket.uid, access.socket.gid), (Some(0), Some(7)));
        assert_eq!(access.socket.mode, 0o600);
        assert_eq!(access.read_only.unwrap().1.mode, 0o666);
        assert_eq!(access.tls.unwrap().read_only, ["*"]);
        assert_eq!(access.audit.unwrap().files, 2);
        assert_eq!((access.limits.calls, access.limits.watch_history), (4, 1));
    }

    #[test]
    fn what_is_wrong_with_access_is_said_with_its_line() {
        let text = "\
access: {group: nobody-has-this, mode: rw}
tls: {listen: here, key: b, client_ca: c}
audit: {files: 0}
limits: {calls: 3}
";
        assert_eq!(
            said(text),
            [
                "node.yaml:1: access: group: this system has no group `nobody-has-this`",
                "node.yaml:1: access: mode: wants octal permissions from \"0600\" to \"0666\", not `rw`",
                "node.yaml:2: tls: certificate: is missing; write the path of a PEM file",
                "node.yaml:2: tls: read_write: nobody could call; name the clients' certificates, or \"*\"",
                "node.yaml:2: tls: listen: wants an address and a port, as in 192.0.2.10:7433, not `here`",
                "node.yaml:3: audit: path: is missing; write where the log goes",
                "node.yaml:3: audit: files: 0 is out of range, 1 to 1000",
                "node.yaml:4: limits: calls: 3 is out of range, 4 to 512",
            ]
        );
    }
}
