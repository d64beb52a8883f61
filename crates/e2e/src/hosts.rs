//! Members on hosts of their own, as far as the network goes: each in a network namespace, behind
//! one bridge, with a filter that loses packets.
//!
//! ```text
//!   the test ----- bridge ----- m0, 10.73.0.1: filter, shaper
//!   10.73.0.254       |
//!                     '-------- m1, 10.73.0.2: filter, shaper
//! ```
//!
//! The bridge is not the machine's: the test runs once more in namespaces of its own, which need no
//! tidying and in which it may do everything. Where these cannot be had, it is skipped.
//!
//! Unlike `links`, where bytes are held back, packets are lost here, and with them what TCP needs
//! to hear from the other end.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::command;
use crate::programs::Server;
use crate::scratch::Scratch;

/// Names the file by which the outer test knows that the inner one was run.
const INSIDE: &str = "PINTLE_E2E_INSIDE";

/// A namespace of each kind that a test changes; what is left in the last one ends with the test.
const UNSHARE: [&str; 6] = ["--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"];

/// What hosts are made of, one of each; shows what a machine cannot do.
const PROBE: &str = "set -e
    mount -t tmpfs tmpfs /run
    ip link add e2e type bridge
    ip netns add e2e
    ip link add e2e0 type veth peer name e2e1 netns e2e
    nsenter --net=/run/netns/e2e nft add table ip e2e
    tc qdisc show dev e2e0";

/// Whether this is the inner run, on which the test goes on. The outer one runs the inner one,
/// and passes if that does. `test` is how cargo calls the test.
pub fn on_hosts(test: &str, server: &Server) -> bool {
    if let Some(ran) = std::env::var_os(INSIDE) {
        std::fs::write(ran, "").expect("the outer test waits for this file");
        return true;
    }
    let scratch = Scratch::new("hosts");
    let probe = command::run(unshared("sh").args(["-c", PROBE]), "", scratch.path());
    match probe {
        Ok(outcome) if outcome.code == 0 => {}
        Ok(outcome) => {
            eprintln!("skipped: members cannot have their own hosts here: {}", outcome.stderr);
            return false;
        }
        Err(error) => {
            eprintln!("skipped: members cannot have their own hosts here: {error:#}");
            return false;
        }
    }
    let ran = scratch.join("ran");
    let myself = std::env::current_exe().expect("a test knows its own path");
    let mut inner = unshared(myself);
    inner.args([test, "--exact", "--nocapture"]);
    inner.env(INSIDE, &ran).env("PINTLE_BIN", &server.path);
    let status = inner.status().expect("the probe could be started as well");
    assert!(ran.exists(), "there is no test {test}");
    assert!(status.success(), "{test} on hosts: {status}");
    false
}

fn unshared(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(UNSHARE);
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command.arg("--").arg(program);
    command
}

/// The test's end of the bridge.
pub(crate) const HERE: Ipv4Addr = Ipv4Addr::new(10, 73, 0, 254);

/// Whom a machine asks for names.
const SETTINGS: &str = "/etc/resolv.conf";

/// The network of a cluster.
#[derive(Debug)]
pub struct Hosts {
    count: usize,
    disks: Vec<PathBuf>,
}

impl Hosts {
    /// A bridge, with the test at one end.
    pub(crate) fn new() -> anyhow::Result<Self> {
        ensure!(std::env::var_os(INSIDE).is_some(), "hosts are for what on_hosts runs");
        // Names of namespaces are files in it.
        run("mount", "-t tmpfs tmpfs /run")?;
        run("ip", "link set lo up")?;
        run("ip", "link add e2e type bridge")?;
        run("ip", &format!("address add {HERE}/24 dev e2e"))?;
        run("ip", "link set e2e up")?;
        Ok(Self { count: 0, disks: Vec::new() })
    }

    /// The next host.
    pub(crate) fn add(&mut self) -> anyhow::Result<Host> {
        let at = self.count;
        let host = Host { address: address(at), name: name(at) };
        let Host { name, address } = &host;
        run("ip", &format!("netns add {name}"))?;
        run("ip", &format!("link add {name} type veth peer name eth0 netns {name}"))?;
        run("ip", &format!("link set {name} master e2e up"))?;
        run("ip", &format!("-n {name} link set lo up"))?;
        run("ip", &format!("-n {name} address add {address}/24 dev eth0"))?;
        run("ip", &format!("-n {name} link set eth0 up"))?;
        inside(at, "nft", "add table ip e2e")?;
        inside(at, "nft", "add chain ip e2e heard { type filter hook input priority 0; }")?;
        self.count += 1;
        Ok(host)
    }

    /// Lets everybody here ask the test for names. `file` is for the settings.
    pub(crate) fn ask_here_for_names(&self, file: &Path) -> anyhow::Result<()> {
        std::fs::write(file, format!("nameserver {HERE}\n")).context("writing settings")?;
        // Where it is a link into /run, what it pointed to is hidden.
        if let Ok(place) = std::fs::read_link(SETTINGS) {
            let place = Path::new("/etc").join(place);
            let folder = place.parent().context("a file is in a folder")?;
            std::fs::create_dir_all(folder).context("making a folder for settings")?;
            std::fs::OpenOptions::new().append(true).create(true).open(&place)?;
        }
        run("mount", &format!("--bind {} {SETTINGS}", file.display()))
    }

    /// Loses what one member sends to another one.
    pub(crate) fn cut(&self, from: usize, to: usize) -> anyhow::Result<()> {
        inside(to, "nft", &format!("add rule ip e2e heard ip saddr {} drop", address(from)))
    }

    /// Loses so many of a hundred packets that one member sends to another one.
    pub fn lose(&self, percent: u32, from: usize, to: usize) -> anyhow::Result<()> {
        let from = address(from);
        let some = format!("numgen random mod 100 < {percent}");
        inside(to, "nft", &format!("add rule ip e2e heard ip saddr {from} {some} drop"))
    }

    /// Lets a member send so many kilobits a second at most.
    pub fn slow_down(&self, at: usize, kilobits: u32) -> anyhow::Result<()> {
        let shaper = format!("tbf rate {kilobits}kbit burst 8kb latency 1s");
        inside(at, "tc", &format!("qdisc replace dev eth0 root {shaper}"))
    }

    /// Holds up what a member sends, by a time that varies by a tenth. Not every kernel can.
    pub fn hold_up(&self, at: usize, time: Duration) -> anyhow::Result<()> {
        let (time, jitter) = (time.as_micros(), time.as_micros() / 10);
        inside(at, "tc", &format!("qdisc replace dev eth0 root netem delay {time}us {jitter}us"))
    }

    /// From now on what a member dials sees it come from another address of its host, unless the
    /// member says from which one it dials.
    pub fn come_from_elsewhere(&self, at: usize) -> anyhow::Result<Ipv4Addr> {
        let other = Ipv4Addr::from(u32::from(address(at)) + 100);
        let name = name(at);
        run("ip", &format!("-n {name} address add {other}/24 dev eth0"))?;
        let route = "10.73.0.0/24 dev eth0 proto kernel scope link src";
        run("ip", &format!("-n {name} route replace {route} {other}"))?;
        Ok(other)
    }

    /// All is well again with the network.
    pub(crate) fn heal(&self) -> anyhow::Result<()> {
        for at in 0..self.count {
            inside(at, "nft", "flush chain ip e2e heard")?;
            // It says so if there is none, which is as well.
            let _ = inside(at, "tc", "qdisc delete dev eth0 root");
        }
        Ok(())
    }

    /// Puts a disk in memory at a folder, of this size and with what is in another folder.
    pub(crate) fn mount(
        &mut self,
        folder: &Path,
        megabytes: usize,
        from: &Path,
    ) -> anyhow::Result<()> {
        std::fs::create_dir(folder).context("making the place of a disk")?;
        let (folder, from) = (folder.display(), from.display());
        run("mount", &format!("-t tmpfs -o size={megabytes}m,mode=700 tmpfs {folder}"))?;
        self.disks.push(PathBuf::from(folder.to_string()));
        run("cp", &format!("-a {from}/. {folder}"))
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        // The rest goes with the namespaces; a folder cannot go while a disk is on it.
        for disk in &self.disks {
            let _ = run("umount", &format!("--lazy {}", disk.display()));
        }
    }
}

/// Where a member lives.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) address: Ipv4Addr,
    name: String,
}

impl Host {
    /// A command of this program that is to run there, with the id of what is started.
    pub(crate) fn enter(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }
}

fn name(at: usize) -> String {
    format!("m{at}")
}

fn address(at: usize) -> Ipv4Addr {
    let last = u8::try_from(at + 1).expect("no test has two hundred members");
    Ipv4Addr::new(10, 73, 0, last)
}

fn inside(at: usize, program: &str, args: &str) -> anyhow::Result<()> {
    run("nsenter", &format!("--net=/run/netns/{} -- {program} {args}", name(at)))
}

fn run(program: &str, args: &str) -> anyhow::Result<()> {
    let output = Command::new(program).args(args.split(' ')).output();
    let output = output.with_context(|| format!("starting {program}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {args}: {}", stderr.trim());
    Ok(())
}
