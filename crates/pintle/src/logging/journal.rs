//! The systemd journal: one datagram for each line, in its own simple form.

use std::io::{self, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use serde_json::Value;

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// A way to the journal. What it does not take (too large a line, a restart of it) goes to
/// standard error.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    identifier: String,
}

impl Journal {
    /// Finds the journal; the error's text is etcd's.
    pub(super) fn open(path: &str) -> Result<Journal, String> {
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            Ok(socket)
        });
        let socket = connected.map_err(|error| {
            let error = super::output::plain(&error);
            format!("can't find journal (dial unixgram {path}: connect: {error})")
        })?;
        let program = std::env::args().next().unwrap_or_default();
        let identifier = Path::new(&program).file_name().unwrap_or_default().to_string_lossy();
        Ok(Journal { socket, identifier: identifier.into_owned() })
    }

    pub(super) fn write(&self, line: &[u8]) -> io::Result<()> {
        match self.socket.send(&entry(line, &self.identifier)) {
            Ok(_) => Ok(()),
            Err(_) => io::stderr().lock().write_all(line),
        }
    }
}

/// The line with the fields that the journal sorts by.
fn entry(line: &[u8], identifier: &str) -> Vec<u8> {
    let fields: Value = serde_json::from_slice(line).unwrap_or_default();
    let priority = match fields["level"].as_str() {
        Some("debug") => 7,
        Some("warn") => 4,
        Some("error") => 3,
        Some("dpanic" | "panic" | "fatal") => 2,
        _ => 6,
    };
    let caller = fields["caller"].as_str().unwrap_or_default();
    let package = caller.rsplit_once('/').map_or(".", |(package, _)| package);
    let mut entry =
        format!("PRIORITY={priority}\nPACKAGE={package}\nSYSLOG_IDENTIFIER={identifier}\nMESSAGE=")
            .into_bytes();
    entry.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
    entry.push(b'\n');
    entry
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::Journal;

    #[test]
    fn the_journal_hears_each_line_with_its_priority() {
        let path = std::env::temp_dir().join(format!("pintle-journal-{}", std::process::id()));
        let name = path.to_str().expect("is text");
        let _ = std::fs::remove_file(&path);
        let absent = Journal::open(name).expect_err("is not there");
        assert!(absent.starts_with("can't find journal (dial unixgram "), "{absent}");
        assert!(absent.ends_with(": connect: no such file or directory)"), "{absent}");

        let daemon = UnixDatagram::bind(&path).expect("binds");
        let journal = Journal::open(name).expect("is there");
        let line = "{\"level\":\"warn\",\"caller\":\"src/run.rs:3\",\"msg\":\"m\"}\n";
        journal.write(line.as_bytes()).expect("is heard");
        let mut heard = [0; 512];
        let length = daemon.recv(&mut heard).expect("hears");
        let heard = String::from_utf8_lossy(&heard[..length]).into_owned();
        let (head, message) = heard.split_once("MESSAGE=").expect("has a message");
        assert!(head.starts_with("PRIORITY=4\nPACKAGE=src\nSYSLOG_IDENTIFIER="), "{head}");
        assert_eq!(message, line);
        std::fs::remove_file(&path).expect("can be removed");
    }
}
