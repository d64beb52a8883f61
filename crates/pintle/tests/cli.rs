//! The program as a script sees it: what it prints where, and its exit codes.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output};

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
    let output =
        run(&["--election-timeout=1", "--memory-mlock", "--listen-client-urls=http://a:1"], &[]);
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
fn the_grpc_proxy_is_not_built_yet_and_says_so() {
    let output = run(&["grpc-proxy", "start"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "etcd grpc-proxy is not built yet in pintle\n");
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
            "--memory-mlock",
        ],
        &[],
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "");
    let text = std::fs::read_to_string(&log.0).expect("is there");
    assert!(text.contains("\tinfo\tpintle/run.rs:"), "{text}");
    assert!(
        text.contains("failed to verify flags\t{\"error\":\"--memory-mlock is not built"),
        "{text}"
    );
}

/// Starts a member on free ports, waits until it serves, and sends it a signal.
fn ended_by(signal: rustix::process::Signal) -> (std::process::ExitStatus, Vec<String>) {
    let name = format!("pintle-cli-{}-{}", std::process::id(), signal.as_raw());
    let data = std::env::temp_dir().join(name);
    let any = "http://127.0.0.1:0";
    let mut child = Command::new(PROGRAM)
        .args(["--name=a", "--heartbeat-interval=10", "--election-timeout=100"])
        .args([format!("--listen-client-urls={any}"), format!("--listen-peer-urls={any}")])
        .args([format!("--advertise-client-urls={any}"), "--unsafe-no-fsync".to_owned()])
        .arg(format!("--data-dir={}", data.display()))
        .env_clear()
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("starts");
    let pid = rustix::process::Pid::from_child(&child);
    let log = BufReader::new(child.stderr.take().expect("is piped"));
    let mut messages = Vec::new();
    // The log ends when the process does, so this waits for no longer than that.
    for line in log.lines() {
        let line: serde_json::Value =
            serde_json::from_str(&line.expect("is text")).expect("each line is JSON");
        let message = line["msg"].as_str().expect("has a message").to_owned();
        if message.starts_with("serving client traffic") {
            rustix::process::kill_process(pid, signal).expect("is there");
        }
        messages.push(message);
    }
    let status = child.wait().expect("ends");
    std::fs::remove_dir_all(data).expect("can be removed");
    (status, messages)
}

#[test]
fn a_signal_closes_in_order_and_is_what_the_process_dies_of() {
    use std::os::unix::process::ExitStatusExt;
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let (status, messages) = ended_by(signal);
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
