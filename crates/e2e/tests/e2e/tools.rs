//! etcd's own tools judge the files.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use e2e::Outcome;

/// What others have written to look into these files finds nothing wrong with them.
pub(crate) fn accepted_by_tools(data: &Path, folder: &Path, done: &str) {
    if let Some(bbolt) = e2e::peer("bbolt") {
        let mut command = Command::new(bbolt);
        let outcome = e2e::run(command.arg("check").arg(data.join("member/snap/db")), "", folder);
        let Outcome { code, stdout, stderr } = outcome.unwrap();
        assert!(code == 0 && stdout.contains("OK"), "bbolt, {done}:\n{stdout}{stderr}");
    }
    if let Some(dump) = dump_logs(data, folder, done) {
        assert!(dump.contains("count is :"), "etcd-dump-logs, {done}:\n{dump}");
    }
}

/// The entries of a log as `etcd-dump-logs` shows them: term, index, type and request, without the
/// ids of the requests, which are every server's own.
pub(crate) fn dumped_log(data: &Path, folder: &Path) -> Option<Vec<String>> {
    let dump = dump_logs(data, folder, "comparing logs")?;
    let (_, entries) = dump.split_once("type\tdata\n").expect("a dump has a heading");
    let (entries, _) = entries.split_once("\nEntry types").expect("a dump has an end");
    Some(entries.lines().map(without_request_id).collect())
}

fn without_request_id(line: &str) -> String {
    match line.split_once("header:<ID:") {
        Some((before, after)) => {
            format!("{before}{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => line.to_owned(),
    }
}

/// From the newest snapshot on that the log knows of.
fn dump_logs(data: &Path, folder: &Path, done: &str) -> Option<String> {
    let dump_logs = e2e::peer("etcd-dump-logs")?;
    let dump = |start: Option<&OsStr>| {
        let mut command = Command::new(&dump_logs);
        if let Some(name) = start {
            command.arg("-start-snap").arg(name);
        }
        e2e::run(command.arg(data), "", folder).unwrap()
    };
    let mut outcome = dump(None);
    if outcome.code != 0 && outcome.stderr.contains("snapshot not found") {
        // The newest file may not be in the log yet when a member is killed, as with etcd.
        let files = std::fs::read_dir(data.join("member/snap")).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        names.retain(|name| Path::new(name).extension().is_some_and(|end| end == "snap"));
        names.sort();
        // The first one of all has no other before it.
        let before = names.len().checked_sub(2)?;
        outcome = dump(Some(&names[before]));
    }
    let Outcome { code, stdout, stderr } = outcome;
    assert_eq!(code, 0, "etcd-dump-logs, {done}:\n{stdout}{stderr}");
    Some(stdout)
}
