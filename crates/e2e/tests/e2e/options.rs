//! Options that show only in the files, the log or the health service: the same on both sides.

use std::time::Duration;

use e2e::{Client, Grpc, Member, Scratch, Server, everything};
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DefragmentRequest, DeleteRangeRequest, HashRequest, PutRequest,
};
use proto::health::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};

const SERVING: i32 = 1;
/// What is written, and deleted again.
const VALUES: usize = 40;
const VALUE_BYTES: usize = 100 << 10;

#[test]
fn a_start_makes_the_db_file_smaller_where_that_is_worth_it() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("options");
        let flags = ["--unsafe-no-fsync", "--bootstrap-defrag-threshold-megabytes=2"];
        let mut member = Member::start(server, scratch.path(), &flags).unwrap();
        assert!(member.log().contains("Skipping defragmentation"), "{}", member.log_tail());
        let client = Client::connect(&member).unwrap();
        let value = bytes::Bytes::from(vec![7; VALUE_BYTES]);
        for number in 0..VALUES {
            let key = format!("k{number}").into();
            client.call(&PutRequest { key, value: value.clone(), ..Default::default() }).unwrap();
        }
        // What never got to the file takes no room in it.
        client.call(&HashRequest {}).unwrap();
        let all = everything(0);
        let delete = DeleteRangeRequest { key: all.key, range_end: all.range_end, prev_kv: false };
        let revision = client.call(&delete).unwrap().header.unwrap().revision;
        client.call(&CompactionRequest { revision, physical: true }).unwrap();
        member.stop().unwrap();
        member.restart(server).unwrap();
        let log = member.log();
        let told = log.lines().find(|line| line.contains("finished defragmenting directory"));
        let told: serde_json::Value = serde_json::from_str(told.expect(server.name)).unwrap();
        let difference = told["current-db-size-bytes-diff"].as_i64().unwrap();
        assert!(difference < -(2 << 20), "{}: {told}", server.name);
    }
}

#[test]
fn health_is_told_while_the_gate_stops_the_service() {
    let Some((pintle, etcd)) = Server::both() else { return };
    for server in [&pintle, &etcd] {
        let scratch = Scratch::new("options");
        let flags = ["--unsafe-no-fsync", "--feature-gates=StopGRPCServiceOnDefrag=true"];
        let member = Member::start(server, scratch.path(), &flags).unwrap();
        let client = Client::connect(&member).unwrap();
        client.call(&DefragmentRequest {}).unwrap();
        let log = member.log();
        let changes: Vec<_> = log
            .lines()
            .filter(|line| line.contains("grpc service status changed"))
            .map(|line| line.contains("\"status\":\"SERVING\""))
            .collect();
        assert_eq!(changes, [true, false, true], "{}", server.name);
        client.block_on(async |grpc: &Grpc| {
            let check: HealthCheckResponse = grpc
                .unary("/grpc.health.v1.Health/Check", &HealthCheckRequest::default())
                .await
                .unwrap();
            assert_eq!(check.status, SERVING);
            let list: HealthListResponse =
                grpc.unary("/grpc.health.v1.Health/List", &HealthListRequest {}).await.unwrap();
            let statuses: Vec<_> =
                list.statuses.iter().map(|(name, it)| (name.as_str(), it.status)).collect();
            assert_eq!(statuses, [("", SERVING)], "{}", server.name);
        });
    }
}

#[test]
fn a_healthy_member_that_checks_itself_finds_nothing() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("options");
    let flags = ["--unsafe-no-fsync", "--corrupt-check-time=20ms", "--metrics=extensive"];
    let member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let client = Client::connect(&member).unwrap();
    let put = PutRequest { key: "a".into(), value: "b".into(), ..Default::default() };
    let checked = e2e::until(Duration::from_secs(10), || {
        client.call(&put).unwrap();
        let (_, metrics) = member.get("/metrics").unwrap();
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("etcd_mvcc_hash_rev_duration_seconds_count "))?;
        (count.parse::<u64>().unwrap() > 6).then_some(())
    });
    assert!(checked.is_some(), "{}", member.log_tail());
    assert!(member.log().contains("enabled corruption checking"));
    assert_eq!(client.call(&AlarmRequest::default()).unwrap().alarms, []);
}
