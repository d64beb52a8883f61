//! Programs with the clients of Go, Python, Node and Rust print the same against pintle and etcd.
//!
//! `crates/e2e/clients/install.sh` builds them; they do puts, gets, txns, leases, watches, locks,
//! compactions and more, each as its language does it.

use std::path::PathBuf;
use std::process::Command;

use e2e::{Member, Outcome, Scratch, Server};

#[test]
fn go() {
    compare("go", |folder| Command::new(folder.join("goclient")));
}

#[test]
fn python() {
    compare("python", |folder| {
        let mut command = Command::new(folder.join("python/bin/python"));
        command.arg(e2e::root().join("crates/e2e/clients/python/main.py"));
        command
    });
}

#[test]
fn node() {
    compare("node", |folder| {
        let mut command = Command::new("node");
        command.arg(folder.join("node/main.js"));
        command
    });
}

#[test]
fn node_at_length() {
    compare("node", |folder| {
        let mut command = Command::new("node");
        command.arg(folder.join("node/more.js"));
        command
    });
}

#[test]
fn python_by_the_gateway() {
    compare("python", |folder| {
        let mut command = Command::new(folder.join("python/bin/python"));
        command.arg(e2e::root().join("crates/e2e/clients/python/gateway.py"));
        command
    });
}

#[test]
fn node_by_the_gateway() {
    compare("node", |folder| {
        let mut command = Command::new("node");
        command.arg(folder.join("node/gateway.js"));
        command
    });
}

#[test]
fn rust() {
    compare("rust", |folder| Command::new(folder.join("rust/debug/rustclient")));
}

fn compare(name: &str, command: impl Fn(PathBuf) -> Command) {
    let Some((pintle, etcd)) = Server::both() else { return };
    let folder = match std::env::var_os("PINTLE_CLIENTS") {
        Some(folder) => PathBuf::from(folder),
        None => e2e::root().join("target/clients"),
    };
    if !folder.join(format!("{name}.done")).exists() {
        eprintln!("skipped: the client of {name} is not here; clients/install.sh builds it");
        return;
    }
    let expected = transcript(&etcd, &mut command(folder.clone()));
    assert_eq!(expected.code, 0, "{name} and etcd: {expected:?}");
    let actual = transcript(&pintle, &mut command(folder));
    for (expected, actual) in expected.stdout.lines().zip(actual.stdout.lines()) {
        assert_eq!(actual, expected, "{name}");
    }
    assert_eq!((actual.code, actual.stdout), (expected.code, expected.stdout), "{}", actual.stderr);
}

/// Node's client hangs now and then on a very busy machine, with etcd too; so one that was killed
/// at the limit may try again, on a new member. A server that makes it hang does so each time.
fn transcript(server: &Server, command: &mut Command) -> Outcome {
    const KILLED: i32 = -9;
    const TRIES: usize = 3;
    let program = command.get_program().to_owned();
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let mut outcome = None;
    for _ in 0..TRIES {
        let mut command = Command::new(&program);
        let tried = attempt(server, command.args(&arguments));
        let killed = tried.code == KILLED;
        outcome = Some(tried);
        if !killed {
            break;
        }
        eprintln!("a client of {} hung: {outcome:?}", server.name);
    }
    outcome.expect("it is tried at least once")
}

fn attempt(server: &Server, command: &mut Command) -> Outcome {
    let scratch = Scratch::new("client");
    let member = Member::start(server, scratch.path(), &[]).unwrap();
    // A member's own address is not its clients' business.
    let endpoint = member.endpoint();
    let mut outcome = e2e::run(command.arg(&endpoint), "", scratch.path()).unwrap();
    outcome.stdout = outcome.stdout.replace(&endpoint, "ENDPOINT");
    outcome
}
