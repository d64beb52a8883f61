//! PostgreSQL servers, each with the Patroni that looks after it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use e2e::{Cluster, Scratch};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How long anything may take. A primary's place is given up only when its lease has ended.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// The cluster's name, which is in its keys and in its patronictl.
pub(super) const SCOPE: &str = "e2e";

/// What is needed to run them.
#[derive(Debug)]
pub(super) struct Programs {
    /// The folder of Patroni's own.
    patroni: PathBuf,
    postgres: PathBuf,
    way: &'static Way,
}

/// How to run what does not run as root.
#[derive(Debug)]
struct Way {
    command: &'static [&'static str],
    /// Whose the files are to be, if not root's.
    owner: Option<u32>,
}

/// As one who is nobody only from within, so that all files are in reach; or as nobody.
const WAYS: [Way; 2] = [
    Way { command: &["unshare", "--user", "--map-user=1000", "--map-group=1000"], owner: None },
    Way {
        command: &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"],
        owner: Some(65534),
    },
];

/// For who is not root.
const DIRECTLY: Way = Way { command: &["env"], owner: None };

impl Programs {
    /// None, and a line that says why, where they are not here or nobody but root can run them.
    pub(super) fn find() -> Option<Self> {
        let clients = match std::env::var_os("PINTLE_CLIENTS") {
            Some(folder) => PathBuf::from(folder),
            None => e2e::root().join("target/clients"),
        };
        if !clients.join("patroni.done").exists() {
            eprintln!("skipped: patroni is not here; clients/install.sh installs it");
            return None;
        }
        let Some(postgres) = folder_of_postgres() else {
            eprintln!("skipped: no server of PostgreSQL is here, or not all of its programs");
            return None;
        };
        let ways = if rustix::process::geteuid().is_root() { &WAYS[..] } else { &[DIRECTLY] };
        let patroni = clients.join("patroni/bin").canonicalize().ok()?;
        let mut programs = ways.iter().map(|way| Self {
            patroni: patroni.clone(),
            postgres: postgres.clone(),
            way,
        });
        let found = programs.find(Self::run_here);
        if found.is_none() {
            eprintln!("skipped: PostgreSQL does not run as root, and as nobody else can we run it");
        }
        found
    }

    fn run_here(&self) -> bool {
        let scratch = Scratch::new("patroni-way");
        if self.give_away(scratch.path()).is_err() {
            return false;
        }
        let script = r#"touch "$0/file" && "$1/patroni" --version && "$2/initdb" --version"#;
        let mut command = self.command(Path::new("sh"));
        command.args(["-c", script]).arg(scratch.path()).arg(&self.patroni).arg(&self.postgres);
        command.output().is_ok_and(|output| output.status.success())
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(self.way.command[0]);
        command.args(&self.way.command[1..]).arg(program);
        command
    }

    fn give_away(&self, folder: &Path) -> anyhow::Result<()> {
        let owner = self.way.owner;
        std::os::unix::fs::chown(folder, owner, owner).context("giving a folder away")
    }
}

/// Where a server's programs are that are all in one folder, as Patroni wants them.
fn folder_of_postgres() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path)
        .filter_map(|folder| folder.join("initdb").canonicalize().ok())
        .filter_map(|program| program.parent().map(Path::to_owned))
        .collect();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    folders.extend(versions.map(|version| version.path().join("bin")));
    let needed = ["initdb", "postgres", "pg_ctl", "pg_basebackup", "pg_rewind", "psql"];
    folders.into_iter().find(|folder| needed.iter().all(|name| folder.join(name).is_file()))
}

/// Two servers of PostgreSQL that are to be one primary and its replica.
#[derive(Debug)]
pub(super) struct Nodes {
    programs: Programs,
    nodes: [Node; 2],
    folder: PathBuf,
}

#[derive(Debug)]
struct Node {
    rest: u16,
    postgres: u16,
    patroni: Option<Child>,
}

impl Nodes {
    /// Starts both; they find out which is the primary.
    pub(super) fn start(programs: Programs, cluster: &Cluster) -> anyhow::Result<Self> {
        let folder = cluster.scratch().join("patroni");
        std::fs::create_dir_all(&folder)?;
        programs.give_away(&folder)?;
        let node = || Node { rest: e2e::free_port(), postgres: e2e::free_port(), patroni: None };
        let mut nodes = Self { programs, nodes: [node(), node()], folder };
        let hosts: Vec<_> = (0..cluster.size()).map(|at| cluster.member(at).endpoint()).collect();
        for at in 0..nodes.nodes.len() {
            let file = nodes.configuration(at);
            std::fs::write(&file, nodes.configured(at, &hosts))?;
            nodes.start_node(at)?;
        }
        Ok(nodes)
    }

    /// The shortest times that Patroni takes. What is acknowledged is on both, so nothing may be
    /// lost with one; the disks are not asked.
    fn configured(&self, at: usize, hosts: &[String]) -> String {
        let (folder, hosts) = (self.folder.display(), hosts.join(", "));
        let postgres = self.programs.postgres.display();
        let Node { rest, postgres: port, .. } = &self.nodes[at];
        format!(
            "\
scope: {SCOPE}
name: p{at}
restapi: {{listen: '127.0.0.1:{rest}', connect_address: '127.0.0.1:{rest}'}}
etcd3: {{hosts: [{hosts}], username: patroni, password: secret}}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 1
    retry_timeout: 3
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {{fsync: 'off', shared_buffers: 16MB}}
  initdb: [{{encoding: UTF8}}, {{locale: C}}, data-checksums, no-sync, {{auth: trust}}]
postgresql:
  listen: 127.0.0.1:{port}
  connect_address: 127.0.0.1:{port}
  data_dir: {folder}/p{at}
  bin_dir: {postgres}
  pgpass: {folder}/p{at}.pgpass
  pg_hba: [host all all 127.0.0.1/32 trust, host replication all 127.0.0.1/32 trust]
  parameters: {{unix_socket_directories: '{folder}'}}
  authentication:
    superuser: {{username: postgres}}
    replication: {{username: replicator}}
    rewind: {{username: postgres}}
"
        )
    }

    fn configuration(&self, at: usize) -> PathBuf {
        self.folder.join(format!("p{at}.yml"))
    }

    /// Starts a node, on what it has.
    pub(super) fn start_node(&mut self, at: usize) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(self.log_path(at))?;
        let mut command = self.programs.command(&self.programs.patroni.join("patroni"));
        command.arg(self.configuration(at)).env("HOME", &self.folder).env("LC_ALL", "C.UTF-8");
        command.current_dir(&self.folder).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        self.nodes[at].patroni = Some(command.spawn().context("starting patroni")?);
        Ok(())
    }

    fn log_path(&self, at: usize) -> PathBuf {
        self.folder.join(format!("p{at}.log"))
    }

    /// What both of them said.
    pub(super) fn log(&self, at: usize) -> String {
        String::from_utf8_lossy(&std::fs::read(self.log_path(at)).unwrap_or_default()).into_owned()
    }

    /// Ends Patroni and PostgreSQL at once, as a lost machine would.
    pub(super) fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        self.end(at, Signal::KILL)
    }

    fn end(&mut self, at: usize, signal: Signal) -> anyhow::Result<()> {
        if let Some(mut patroni) = self.nodes[at].patroni.take() {
            patroni.kill().context("killing patroni")?;
            patroni.wait().context("waiting for a killed patroni")?;
        }
        let file = self.folder.join(format!("p{at}/postmaster.pid"));
        let pid = || {
            let written = std::fs::read_to_string(&file).ok()?;
            let pid: i32 = written.lines().next()?.trim().parse().ok()?;
            Pid::from_raw(pid).filter(|pid| is_postgres(*pid))
        };
        if let Some(pid) = pid() {
            kill_process(pid, signal).context("ending postgres")?;
            e2e::until(PATIENCE, || (!is_postgres(pid)).then_some(())).context("it stays")?;
        }
        Ok(())
    }

    /// What Patroni says of all, by name: role and state. None if this one says nothing.
    pub(super) fn cluster(&self, at: usize) -> Option<Vec<(String, String, String)>> {
        let reply = self.ask(at, "/cluster")?;
        let text = |member: &Value, name: &str| Some(member.get(name)?.as_str()?.to_owned());
        let members = reply.get("members")?.as_array()?.iter();
        members
            .map(|one| Some((text(one, "name")?, text(one, "role")?, text(one, "state")?)))
            .collect()
    }

    /// When a node heard of the cluster's state last, in seconds of the wall clock.
    pub(super) fn heard_at(&self, at: usize) -> Option<u64> {
        self.ask(at, "/patroni")?.get("dcs_last_seen")?.as_u64()
    }

    /// How often there was a new primary.
    pub(super) fn timeline(&self, at: usize) -> Option<u64> {
        self.ask(at, "/patroni")?.get("timeline")?.as_u64()
    }

    fn ask(&self, at: usize, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.nodes[at].rest)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// What PostgreSQL answers; an error is its own text.
    pub(super) fn sql(&self, at: usize, statement: &str) -> Result<String, String> {
        let port = self.nodes[at].postgres.to_string();
        let mut command = Command::new(self.programs.postgres.join("psql"));
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-XAtq"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-c", statement]).env("PGCONNECT_TIMEOUT", "5");
        outcome(&mut command, &self.folder)
    }

    /// What `patronictl` prints.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::new(self.programs.patroni.join("patronictl"));
        command.arg("-c").arg(self.configuration(0)).args(arguments).env("LC_ALL", "C.UTF-8");
        outcome(&mut command, &self.folder)
    }
}

fn outcome(command: &mut Command, folder: &Path) -> Result<String, String> {
    let outcome = e2e::run(command, "", folder).map_err(|error| format!("{error:#}"))?;
    match outcome.code {
        0 => Ok(outcome.stdout.trim_end().to_owned()),
        code => Err(format!("{code}: {}{}", outcome.stdout, outcome.stderr)),
    }
}

/// Whether this is a process that still runs, and not another one by now.
fn is_postgres(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains("(postgres)") && !stat.contains(") Z "))
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for at in 0..self.nodes.len() {
            // At once, but so that it takes back what it has of the machine's shared memory.
            if let Err(error) = self.end(at, Signal::QUIT) {
                eprintln!("p{at} goes on: {error:#}");
            }
            if std::thread::panicking() {
                let log = self.log(at);
                let lines: Vec<_> = log.lines().collect();
                let tail = &lines[lines.len().saturating_sub(60)..];
                eprintln!("the log of p{at} ends with:\n{}", tail.join("\n"));
            }
        }
    }
}
