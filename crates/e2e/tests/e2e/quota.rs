//! A quota that is used up: told before, refused with an alarm, and room again after deletions.

use std::time::Duration;

use e2e::{Client, Member, Scratch, Server, everything};
use proto::etcdserverpb::{
    AlarmRequest, CompactionRequest, DeleteRangeRequest, PutRequest, RequestOp, TxnRequest,
    request_op::Request,
};

const QUOTA: &str = "--quota-backend-bytes=4194304";

/// Puts until nothing more is taken, and gives what was said then.
fn fill(client: &Client) -> String {
    for number in 0..1000 {
        let put = PutRequest {
            key: format!("k{number}").into(),
            value: vec![b'x'; 64 << 10].into(),
            ..PutRequest::default()
        };
        if let Err(refused) = client.call(&put) {
            return refused.message;
        }
    }
    panic!("a quota of four megabytes takes 64")
}

/// All that etcd admits under the alarm, too.
fn make_room(client: &Client) {
    let all = everything(0);
    let half = DeleteRangeRequest { key: "k".into(), range_end: "k5".into(), prev_kv: false };
    let delete = RequestOp { request: Some(Request::RequestDeleteRange(half)) };
    client.call(&TxnRequest { success: vec![delete], ..TxnRequest::default() }).unwrap();
    let rest = DeleteRangeRequest { key: all.key, range_end: all.range_end, prev_kv: false };
    let revision = client.call(&rest).unwrap().header.unwrap().revision;
    client.call(&CompactionRequest { revision, physical: true }).unwrap();
}

fn alarms(client: &Client) -> usize {
    client.call(&AlarmRequest::default()).unwrap().alarms.len()
}

#[test]
fn it_is_told_before_it_is_used_up_and_the_alarm_stays_until_it_is_disarmed() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("quota");
    let member = Member::start(&pintle, scratch.path(), &[QUOTA, "--unsafe-no-fsync"]).unwrap();
    let client = Client::connect(&member).unwrap();
    assert_eq!(fill(&client), "etcdserver: mvcc: database space exceeded");
    assert_eq!(alarms(&client), 1);
    let told = e2e::until(Duration::from_secs(10), || {
        let log = member.log();
        let line = log.lines().find(|line| line.contains("the space quota is nearly used up"))?;
        Some(line.contains("\"used-percent-at-least\":"))
    });
    assert_eq!(told, Some(true), "{}", member.log_tail());
    make_room(&client);
    let room = e2e::until(Duration::from_secs(10), || {
        member.log().contains("the space quota is no longer nearly used up").then_some(())
    });
    assert!(room.is_some(), "{}", member.log_tail());
    assert_eq!(alarms(&client), 1, "nobody has disarmed it");
    client.disarm().unwrap();
    let put = PutRequest { key: "a".into(), ..PutRequest::default() };
    client.call(&put).unwrap();
}

#[test]
fn the_alarm_goes_by_itself_where_that_is_wanted() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("quota");
    let flags = [QUOTA, "--unsafe-no-fsync", "--experimental-alarm-auto-disarm"];
    let member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let client = Client::connect(&member).unwrap();
    fill(&client);
    assert_eq!(alarms(&client), 1);
    make_room(&client);
    let gone = e2e::until(Duration::from_secs(10), || (alarms(&client) == 0).then_some(()));
    assert!(gone.is_some(), "{}", member.log_tail());
    assert!(member.log().contains("took back the NOSPACE alarm"));
    client.call(&PutRequest { key: "a".into(), ..PutRequest::default() }).unwrap();
}
