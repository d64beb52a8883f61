//! The program as a script sees it: what it prints where, and its exit codes.

use std::io::{BufRead, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pintle");

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("is text")
}

/// The values of a key in all log lines.
fn logged(output: &Output, key: &str) -> Vec<String> {
    let lines = text(&output.stderr);
    let values = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        for always in ["level", "ts", "caller", "msg"] {
            let value = line.get(always).and_then(serde_json::Value::as_str);
            assert!(value.is_some_and(|value| !value.is_empty()), "{always} in {line}");
        }
        line.get(key).and_then(serde_json::Value::as_str).map(str::to_owned)
    });
    values.flatten().collect()
}

#[test]
fn the_version_is_four_lines_of_etcds_and_one_of_ours() {
    let output = run(&["--version"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output.stdout);
    assert!(text.starts_with("etcd Version: 3.7.1\nGit SHA: "), "{text}");
    assert_eq!(text.lines().count(), 5);
}

#[test]
fn help_goes_to_both_streams() {
    for flag in ["-h", "--help", "-help"] {
        let output = run(&[flag], &[]);
        assert_eq!(output.status.code(), Some(0));
        assert!(text(&output.stderr).starts_with("Usage:\n"));
        assert!(text(&output.stdout).contains("  --data-dir ''\n"));
    }
}

#[test]
fn a_flag_that_does_not_read_ends_with_2() {
    let output = run(&["--v2-deprecation=not-yet"], &[]);
    assert_eq!(output.status.code(), Some(2));
    let text = text(&output.stderr);
    let error = "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\"\n";
    assert!(text.starts_with(error), "{text}");
    assert!(text.contains("Usage:"));
}

#[test]
fn options_that_make_no_sense_end_with_1_and_are_all_told() {
    let output = run(
        &["--election-timeout=1", "--auto-compaction-mode=x", "--listen-client-urls=http://a:1"],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    let messages = logged(&output, "msg");
    assert_eq!(messages[0], "Running: ");
    assert_eq!(messages.iter().filter(|text| *text == "failed to verify flags").count(), 4);
    assert!(messages.contains(&"advertise client URLs are not set".to_owned()));
    assert_eq!(logged(&output, "error")[0], "expected IP in URL for binding (http://a:1)");
}

#[test]
fn a_left_over_word_is_no_flag() {
    let output = run(&["--name=a", "serve"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(logged(&output, "msg"), ["Running: ", "failed to verify flags"]);
    assert_eq!(logged(&output, "error"), ["\"serve\" is not a valid flag"]);
}

#[test]
fn a_variable_beside_its_flag_is_fatal() {
    let output = run(&["--name=a"], &[("ETCD_NAME", "b")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(logged(&output, "level"), ["fatal"]);
    assert_eq!(logged(&output, "environment-variable"), ["ETCD_NAME"]);
}

#[test]
fn variables_are_told_of_in_etcds_order() {
    let variables =
        [("ETCD_VERSION", "1"), ("ETCD_ZZZ", "1"), ("ETCD_NAME", "a"), ("ETCD_LOG_FORMAT", "x")];
    let output = run(&[], &variables);
    assert_eq!(
        logged(&output, "msg"),
        [
            "cannot set special environment variable",
            "recognized and used environment variable",
            "recognized and used environment variable",
            "unrecognized environment variable",
            "Running: ",
            "failed to verify flags",
        ]
    );
    assert_eq!(logged(&output, "variable-name"), ["ETCD_LOG_FORMAT", "ETCD_NAME"]);
    assert_eq!(logged(&output, "environment-variable"), ["ETCD_ZZZ=1"]);
}

/// A file that goes when the test ends.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("pintle-cli-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("can be written");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("is text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_file_takes_the_place_of_flags_and_variables() {
    let file = File::new("election.yml", "name: a\nelection-timeout: 7\n");
    let variables = [("ETCD_CONFIG_FILE", file.path()), ("ETCD_ELECTION_TIMEOUT", "8")];
    for output in [run(&[], &variables), run(&["--config-file", file.path(), "--name=b"], &[])] {
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(
            logged(&output, "error"),
            [
                "--election-timeout[7ms] should be at least as 5 times as --heartbeat-interval[100ms]"
            ]
        );
    }
}

#[test]
fn urls_of_a_file_that_do_not_read_are_told_without_the_logger() {
    let file = File::new("urls.yml", "listen-peer-urls: 127.0.0.1:1\n");
    let output = run(&["--config-file", file.path()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "unexpected error setting up listen-peer-urls: parse \"127.0.0.1:1\": first path segment \
         in URL cannot contain colon\n"
    );
}

#[test]
fn it_is_etcd_under_etcds_name() {
    let name = std::env::temp_dir().join(format!("pintle-cli-{}", std::process::id())).join("etcd");
    std::fs::create_dir_all(name.parent().expect("has one")).expect("can be made");
    std::fs::hard_link(PROGRAM, &name)
        .or_else(|_| std::fs::copy(PROGRAM, &name).map(|_| ()))
        .expect("is there");
    let output = Command::new(&name).arg("--version").output().expect("starts");
    assert!(text(&output.stdout).starts_with("etcd Version: 3.7.1\n"));
    let output = Command::new(&name).arg("--nonsense").output().expect("starts");
    let error = "flag provided but not defined: -nonsense\n";
    assert!(text(&output.stderr).starts_with(error));
    std::fs::remove_dir_all(name.parent().expect("has one")).expect("can be removed");
}

#[test]
fn the_grpc_proxy_refuses_what_is_not_built() {
    for flag in ["--experimental-leasing-prefix=x", "--experimental-enable-grpc-logging"] {
        let output = run(&["grpc-proxy", "start", "--listen-addr=127.0.0.1:0", flag], &[]);
        assert_eq!(output.status.code(), Some(1));
        let name = flag.split('=').next().unwrap_or_default();
        let expected = format!("{name} is not built in pintle; leave it out\n");
        assert_eq!(text(&output.stderr), expected);
    }
}

#[test]
fn the_log_goes_where_it_is_told() {
    let log = File::new("log", "");
    let output = run(
        &[
            "--log-outputs",
            log.path(),
            "--log-format=console",
            "--pre-vote=false",
            "--name=b",
            "--auto-compaction-mode=x",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "");
    let text = std::fs::read_to_string(&log.0).expect("is there");
    assert!(text.contains("\tinfo\tpintle/run.rs:"), "{text}");
    assert!(
        text.contains("failed to verify flags\t{\"error\":\"unknown auto-compaction-mode"),
        "{text}"
    );
}

/// What a member says once clients can come.
const SERVES: &str = "serving client traffic";

/// A member on free ports. It is killed, and its data removed, when this is dropped.
struct Member {
    child: Child,
    data: PathBuf,
    log: Lines<BufReader<ChildStderr>>,
}

impl Member {
    /// Starts one by a command that its own command line is appended to.
    fn start(test: &str, by: &[&str], more: &[&str], variables: &[(&str, &str)]) -> Member {
        let data = std::env::temp_dir().join(format!("pintle-cli-{}-{test}", std::process::id()));
        let any = "http://127.0.0.1:0";
        let mut line: Vec<_> = by.iter().map(|&word| word.to_owned()).collect();
        line.push(PROGRAM.to_owned());
        line.extend(["--name=a", "--heartbeat-interval=10"].map(str::to_owned));
        line.extend(["--election-timeout=100", "--unsafe-no-fsync"].map(str::to_owned));
        line.extend(
            ["listen-client-urls", "listen-peer-urls", "advertise-client-urls"]
                .map(|name| format!("--{name}={any}")),
        );
        line.push(format!("--data-dir={}", data.display()));
        let mut command = Command::new(&line[0]);
        command.args(&line[1..]).args(more).env_clear().envs(variables.iter().copied());
        let mut child = command.stderr(Stdio::piped()).spawn().expect("starts");
        let log = BufReader::new(child.stderr.take().expect("is piped")).lines();
        Member { child, data, log }
    }

    /// The next line of the log; none when the process has ended.
    fn line(&mut self) -> Option<serde_json::Value> {
        let line = self.log.next()?.expect("is text");
        Some(serde_json::from_str(&line).expect("each line is JSON"))
    }

    /// The messages of the log up to one that begins so, or to its end.
    fn messages_until(&mut self, beginning: &str) -> Vec<String> {
        let mut messages: Vec<String> = Vec::new();
        while !messages.last().is_some_and(|last| last.starts_with(beginning)) {
            let Some(line) = self.line() else { break };
            messages.push(line["msg"].as_str().expect("has a message").to_owned());
        }
        messages
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("is there");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

#[test]
fn a_signal_closes_in_order_and_is_what_the_process_dies_of() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut member = Member::start(&format!("signal-{}", signal.as_raw()), &[], &[], &[]);
        let mut messages = member.messages_until(SERVES);
        member.signal(signal);
        messages.extend(member.messages_until("no line has this"));
        let status = member.child.wait().expect("ends");
        assert_eq!(status.signal(), Some(signal.as_raw()), "{messages:?}");
        let last: Vec<_> =
            ["received signal; shutting down", "closing etcd server", "closed etcd server"]
                .iter()
                .map(|text| messages.iter().position(|message| message == text))
                .collect();
        assert!(last.is_sorted() && last[0].is_some(), "{messages:?}");
        assert_eq!(messages.last().map(String::as_str), Some("closed etcd server"));
    }
}

/// Memory of a process that is locked, in kilobytes.
fn locked_kilobytes(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("is told");
    line.trim().trim_end_matches("kB").trim().parse().expect("is a number")
}

#[test]
fn memory_is_locked_where_that_is_wished_and_permitted() {
    let mut plain = Member::start("not-locked", &[], &[], &[]);
    plain.messages_until(SERVES);
    assert_eq!(locked_kilobytes(&plain.child), 0);
    drop(plain);
    let mut member = Member::start("locked", &[], &["--memory-mlock"], &[]);
    let messages = member.messages_until(SERVES);
    if !messages.last().is_some_and(|last| last.starts_with(SERVES)) {
        eprintln!("skipped: memory may not be locked here: {messages:?}");
        return;
    }
    // All of it, which is more than the binary alone has.
    assert!(locked_kilobytes(&member.child) > 4096);
}

#[test]
fn a_member_that_may_not_lock_its_memory_says_so_and_ends() {
    // Who is root may lock it whatever the limit is.
    let mut by = vec!["/bin/sh", "-c", "ulimit -l 64 && exec \"$0\" \"$@\""];
    if rustix::process::geteuid().is_root() {
        by.extend(["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"]);
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut member = Member::start("no-lock", &by, &["--memory-mlock"], &[("PATH", &path)]);
    let mut last = serde_json::Value::Null;
    while let Some(line) = member.line() {
        last = line;
    }
    assert_eq!(member.child.wait().expect("ends").code(), Some(1), "{last}");
    assert_eq!(last["level"], "fatal");
    assert_eq!(
        last["error"],
        "mlock error: cannot allocate memory (--memory-mlock needs CAP_IPC_LOCK or a higher limit \
         of locked memory)"
    );
}

#[test]
fn the_address_that_members_dial_from_is_told_at_the_start() {
    let urls = "--initial-advertise-peer-urls=http://127.0.0.1:2380,http://192.0.2.7:2380";
    let gate = "--feature-gates=SetMemberLocalAddr=true";
    let cluster = "--initial-cluster=a=http://127.0.0.1:2380,a=http://192.0.2.7:2380";
    let mut member = Member::start("local-address", &[], &[urls, gate, cluster], &[]);
    let mut told = Vec::new();
    while let Some(line) = member.line() {
        told.extend(
            ["LocalAddr", "local-address"].map(|key| line[key].as_str().map(str::to_owned)),
        );
        if line["msg"].as_str().is_some_and(|message| message.starts_with(SERVES)) {
            break;
        }
    }
    assert_eq!(told.into_iter().flatten().collect::<Vec<_>>(), ["192.0.2.7", "192.0.2.7"]);
}

/// An init daemon, at a name that is a file or none.
fn daemon(address: &SocketAddr) -> UnixDatagram {
    let daemon = UnixDatagram::bind_addr(address).expect("binds");
    daemon.set_read_timeout(Some(Duration::from_secs(30))).expect("can be set");
    daemon
}

#[test]
fn the_init_daemon_hears_once_that_clients_are_served() {
    let name = format!("pintle-cli-notify-{}", std::process::id());
    let file = std::env::temp_dir().join(&name);
    let file_name = file.to_str().expect("is text").to_owned();
    let places = [
        (format!("@{name}"), SocketAddr::from_abstract_name(&name).expect("is a name")),
        (file_name, SocketAddr::from_pathname(&file).expect("is a path")),
    ];
    for (at, (variable, address)) in places.iter().enumerate() {
        let daemon = daemon(address);
        let variables = [("NOTIFY_SOCKET", variable.as_str())];
        let mut member = Member::start(&format!("notify-{at}"), &[], &[], &variables);
        let mut heard = [0; 64];
        let length = daemon.recv(&mut heard).expect("hears");
        assert_eq!(&heard[..length], b"READY=1");
        // A client that comes now is served.
        let line = loop {
            let line = member.line().expect("it goes on");
            if line["msg"].as_str().is_some_and(|message| message.starts_with(SERVES)) {
                break line;
            }
        };
        let client = line["address"].as_str().expect("says where");
        let mut client = TcpStream::connect(client).expect("is open");
        write!(client, "GET /health HTTP/1.0\r\n\r\n").expect("takes it");
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("answers");
        assert!(answer.contains("200 OK") && answer.contains("\"health\":\"true\""), "{answer}");
        member.messages_until("successfully notified init daemon");
        member.signal(rustix::process::Signal::TERM);
        member.child.wait().expect("ends");
        // Nothing else is said, as by etcd: the end of the process tells of the end.
        daemon.set_nonblocking(true).expect("can be set");
        assert!(daemon.recv(&mut heard).is_err());
    }
    std::fs::remove_file(&file).expect("can be removed");
}

#[test]
fn the_init_daemon_hears_nothing_of_a_member_that_nobody_leads() {
    let name = format!("pintle-cli-unready-{}", std::process::id());
    let daemon = daemon(&SocketAddr::from_abstract_name(&name).expect("is a name"));
    // The other member hears, and says nothing.
    let other = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = other.local_addr().expect("is bound").port();
    let two = format!("--initial-cluster=a=http://localhost:2380,b=http://127.0.0.1:{port}");
    let variable = format!("@{name}");
    let variables = [("NOTIFY_SOCKET", variable.as_str())];
    let _member = Member::start("unready", &[], &[&two], &variables);
    // By then it is asked for its vote, so the first one has long been up.
    let asked = other.incoming().map(|socket| {
        let mut line = String::new();
        let _ = BufReader::new(socket.expect("accepts")).read_line(&mut line);
        line
    });
    assert!(asked.take(1000).any(|line| line.starts_with("POST /raft ")));
    daemon.set_nonblocking(true).expect("can be set");
    let heard = daemon.recv(&mut [0; 64]).expect_err("is not ready");
    assert_eq!(heard.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_member_serves_though_the_init_daemon_is_not_there() {
    // An empty name is none, and nobody is missed.
    for (variable, last) in [
        ("/nowhere/to/be/found", "failed to notify systemd for readiness"),
        ("", "successfully notified init daemon"),
    ] {
        let variables = [("NOTIFY_SOCKET", variable)];
        let mut member = Member::start(&format!("alone-{}", last.len()), &[], &[], &variables);
        let messages = member.messages_until(last);
        assert_eq!(messages.last().map(String::as_str), Some(last));
        member.signal(rustix::process::Signal::TERM);
        let status = member.child.wait().expect("ends");
        assert_eq!(status.signal(), Some(15), "it was there until it was told to end");
    }
}
