//! A disk that is full, or that gives no more to a file.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::{Client, Member, Scratch, Server};
use proto::etcdserverpb::{PutRequest, RangeRequest};

const FLAGS: [&str; 2] = ["--heartbeat-interval=10", "--election-timeout=100"];
const VALUE_BYTES: usize = 512 * 1024;
/// More than any of the disks here has room for.
const MANY: usize = 400;

/// The server, which may write so much into one file.
fn limited(server: &Server, scratch: &Scratch, mib: u64) -> Server {
    let path = scratch.join(&format!("limited-{mib}"));
    let script = format!(
        "#!/bin/sh\n# Else the signal would end it.\ntrap '' XFSZ\nulimit -f {}\nexec '{}' \"$@\"\n",
        mib * 2048,
        server.path.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Server { name: server.name, path }
}

/// Puts until there is an error, and says how many were acknowledged.
fn fill(member: &Member) -> usize {
    let Ok(client) = Client::connect(member) else { return 0 };
    for number in 0..MANY {
        let value = vec![b'v'; VALUE_BYTES].into();
        let key = format!("key/{number:03}").into();
        if client.call(&PutRequest { key, value, ..PutRequest::default() }).is_err() {
            return number;
        }
    }
    panic!("the disk was never full\n{}", member.log_tail());
}

/// All that was acknowledged is there.
fn verify(member: &Member, acknowledged: usize) {
    let client = Client::connect(member).unwrap();
    let keys_only = true;
    let request = RangeRequest { keys_only, ..e2e::everything(0) };
    let kvs = client.call(&request).unwrap().kvs;
    for number in 0..acknowledged {
        let key = format!("key/{number:03}");
        assert!(kvs.iter().any(|kv| kv.key == key.as_bytes()), "{key} of {acknowledged}");
    }
    client.call(&PutRequest { key: "more".into(), ..PutRequest::default() }).unwrap();
}

/// It says what failed where, and ends, if it does not go on without writing.
fn complains(member: &mut Member) {
    let ended = e2e::until(std::time::Duration::from_secs(10), || member.ended());
    let log = member.log();
    assert!(!log.contains("panicked at"), "{}", member.log_tail());
    if let Some(status) = ended {
        assert_eq!(status.code(), Some(1), "{}", member.log_tail());
    }
    let told = super::complaint(&log);
    assert!(told.contains("\"msg\":\"member failed\""), "{}", member.log_tail());
    let why = ["File too large", "No space left on device"];
    assert!(why.iter().any(|why| told.contains(why)), "{}", member.log_tail());
}

#[test]
fn that_has_no_room_for_a_log() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("no-log");
    let little = limited(&pintle, &scratch, 10);
    let error = Member::start(&little, scratch.path(), &FLAGS).unwrap_err().to_string();
    assert!(error.contains("File too large") && error.contains("wal"), "{error}");
    assert!(!error.contains("panicked at"), "{error}");
    let member = Member::start(&pintle, scratch.path(), &FLAGS).unwrap();
    verify(&member, 0);
}

#[test]
fn that_has_no_room_for_the_db() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("no-db");
    let little = limited(&pintle, &scratch, 70);
    let mut member = Member::start(&little, scratch.path(), &FLAGS).unwrap();
    let acknowledged = fill(&member);
    complains(&mut member);
    assert!(acknowledged > 50, "{acknowledged}");
    member.restart(&pintle).unwrap();
    verify(&member, acknowledged);
}

/// A file system in memory, of a size.
struct Mount(PathBuf);

impl Mount {
    fn new(path: &Path, mib: u64) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mount = Self(path.to_owned());
        mount.run(&["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"]).then_some(mount)
    }

    fn grow(&self, mib: u64) {
        assert!(self.run(&["-o", &format!("remount,size={mib}m")]));
    }

    fn run(&self, arguments: &[&str]) -> bool {
        let output = Command::new("mount").args(arguments).arg(&self.0).output();
        output.is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What stays mounted goes with the machine.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn that_is_full() {
    let Some(pintle) = Server::pintle() else { return };
    for mib in [100, 190] {
        let scratch = Scratch::new("full");
        let Some(mount) = Mount::new(&scratch.join("disk"), mib) else {
            eprintln!("skipped: nothing can be mounted here");
            return;
        };
        let mut member = Member::start(&pintle, &mount.0, &FLAGS).unwrap();
        let acknowledged = fill(&member);
        complains(&mut member);
        member.kill().unwrap();
        mount.grow(1000);
        member.restart(&pintle).unwrap();
        verify(&member, acknowledged);
        drop(member);
    }
}
