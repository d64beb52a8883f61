//! Preparing for an older etcd: the same answers, and the same versions in the files.

use std::time::Duration;

use e2e::{Client, Member, Scratch, Server, Status};
use proto::etcdserverpb::{DowngradeRequest, DowngradeResponse, PutRequest, StatusRequest};

const VALIDATE: i32 = 0;
const ENABLE: i32 = 1;
const CANCEL: i32 = 2;
/// etcd looks at its version every four seconds, and at that of its files every four, too.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_downgrade_is_prepared_and_taken_back_as_by_etcd() {
    let Some((pintle, etcd)) = Server::both() else { return };
    // Both wait for their clocks, so they wait together.
    let (ours, theirs) = std::thread::scope(|scope| {
        let theirs = scope.spawn(|| life(&etcd));
        (life(&pintle), theirs.join().unwrap())
    });
    assert_eq!(ours, theirs);
}

/// What a member tells on the way down and up again.
fn life(server: &Server) -> Vec<String> {
    let scratch = Scratch::new("downgrade");
    let flags = ["--unsafe-no-fsync", "--advertise-client-urls=http://127.0.0.1:2379"];
    let mut member = Member::start(server, scratch.path(), &flags).unwrap();
    member.wait_for_storage_version().unwrap();
    let mut told = conversation(&member);
    wait_for(&member, "3.6.0");
    told.push(versions(&member));
    told.push(ask(&Client::connect(&member).unwrap(), VALIDATE, "3.5"));
    // It holds over a restart.
    member.stop().unwrap();
    member.restart(server).unwrap();
    told.push(versions(&member));
    told.push(ask(&Client::connect(&member).unwrap(), CANCEL, ""));
    wait_for(&member, "3.7.0");
    told.push(versions(&member));
    told
}

fn conversation(member: &Member) -> Vec<String> {
    let client = Client::connect(member).unwrap();
    client.call(&PutRequest { key: "a".into(), ..Default::default() }).unwrap();
    let steps = [
        (VALIDATE, "3.6"),
        (VALIDATE, "3.6.5"),
        (VALIDATE, "3.7"),
        (VALIDATE, "3.5.0"),
        (VALIDATE, "x"),
        (VALIDATE, ""),
        (7, "3.6"),
        (CANCEL, ""),
        (ENABLE, "4.0"),
        (ENABLE, "3.6"),
        (ENABLE, "3.6"),
        (VALIDATE, "3.6.0"),
    ];
    steps.iter().map(|(action, version)| ask(&client, *action, version)).collect()
}

fn ask(client: &Client, action: i32, version: &str) -> String {
    let version = version.to_owned();
    match client.call(&DowngradeRequest { action, version: version.clone() }) {
        Ok(DowngradeResponse { header, version: now }) => {
            let revision = header.unwrap().revision;
            format!("{action} {version:?}: version {now}, revision {revision}")
        }
        Err(Status { code, message }) => format!("{action} {version:?}: {code} {message}"),
    }
}

/// Waits until both the cluster and the files are of a version.
fn wait_for(member: &Member, version: &str) {
    let expected = (format!("\"etcdcluster\":\"{version}\""), format!("\"storage\":\"{version}\""));
    let reached = e2e::until(PATIENCE, || {
        let (_, body) = member.get("/version").ok()?;
        (body.contains(&expected.0) && body.contains(&expected.1)).then_some(())
    });
    assert!(reached.is_some(), "{} is not at {version}\n{}", member.name(), member.log_tail());
}

fn versions(member: &Member) -> String {
    let status = Client::connect(member).unwrap().call(&StatusRequest {}).unwrap();
    let (_, body) = member.get("/version").unwrap();
    format!("{body} {} {:?}", status.storage_version, status.downgrade_info)
}
