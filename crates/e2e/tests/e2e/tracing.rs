//! Spans of calls: the same as etcd's, in the trace of the client.

use std::collections::BTreeMap;
use std::time::Duration;

use e2e::{Client, Collector, Grpc, Member, Scratch, Server, streams};
use proto::Message;
use proto::etcdserverpb::watch_request::RequestUnion;
use proto::etcdserverpb::{
    CompactionRequest, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseRevokeRequest, PutRequest, RangeRequest, TxnRequest,
    WatchCancelRequest, WatchCreateRequest, WatchRequest, WatchResponse,
};
use proto::opentelemetry::any_value::Value;
use proto::opentelemetry::{KeyValue, ResourceSpans, Span};

const PARENT: [u8; 8] = [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31];

fn traceparent(number: u8) -> String {
    format!("00-{:032x}-b7ad6b7169203331-01", u128::from(number) + (1 << 100))
}

/// Makes calls of all kinds, each in a trace of its own.
struct Traced<'a> {
    grpc: &'a Grpc,
    number: u8,
}

impl Traced<'_> {
    async fn open(&mut self, path: &str) -> e2e::Call {
        self.number += 1;
        let parent = traceparent(self.number);
        self.grpc.open_with(path, &[("traceparent", &parent)]).await.unwrap()
    }

    /// Whether it went well.
    async fn call(&mut self, path: &str, request: &impl Message) -> bool {
        let mut call = self.open(path).await;
        call.send_last(request).unwrap();
        loop {
            match call.next_bytes().await {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

async fn ask_everything(grpc: &Grpc) {
    let mut traced = Traced { grpc, number: 0 };
    let put = |lease| PutRequest { key: "k".into(), lease, ..PutRequest::default() };
    let range = RangeRequest { key: "k".into(), limit: 7, ..RangeRequest::default() };
    let delete = DeleteRangeRequest { key: "a".into(), range_end: "b".into(), prev_kv: false };
    assert!(traced.call("/etcdserverpb.KV/Put", &put(0)).await);
    assert!(!traced.call("/etcdserverpb.KV/Put", &put(99)).await, "no such lease");
    assert!(!traced.call("/etcdserverpb.KV/Put", &PutRequest::default()).await, "no key");
    assert!(traced.call("/etcdserverpb.KV/Range", &range).await);
    assert!(traced.call(streams::RANGE_STREAM, &range).await);
    assert!(traced.call("/etcdserverpb.KV/DeleteRange", &delete).await);
    assert!(traced.call("/etcdserverpb.KV/Txn", &TxnRequest::default()).await);
    let compaction = CompactionRequest { revision: 2, physical: true };
    assert!(traced.call("/etcdserverpb.KV/Compact", &compaction).await);
    let grant = LeaseGrantRequest { id: 5, ttl: 100 };
    assert!(traced.call("/etcdserverpb.Lease/LeaseGrant", &grant).await);
    let mut alive = traced.open(streams::LEASE_KEEP_ALIVE).await;
    alive.send_last(&LeaseKeepAliveRequest { id: 5 }).unwrap();
    alive.next::<LeaseKeepAliveResponse>().await.unwrap().unwrap();
    alive.finish().await.unwrap();
    let revoke = LeaseRevokeRequest { id: 5 };
    assert!(traced.call("/etcdserverpb.Lease/LeaseRevoke", &revoke).await);
    watch(&mut traced).await;
    // Of a client that wants no span, and of one that says nothing.
    let mut silent = grpc
        .open_with(
            "/etcdserverpb.KV/Put",
            &[("traceparent", &traceparent(99).replace("-01", "-00"))],
        )
        .await
        .unwrap();
    silent.send_last(&put(0)).unwrap();
    silent.next_bytes().await.unwrap();
    grpc.call(&put(0)).await.unwrap();
}

async fn watch(traced: &mut Traced<'_>) {
    let mut watch = traced.open(streams::WATCH).await;
    let create = WatchCreateRequest { key: "w".into(), prev_kv: true, ..Default::default() };
    let union = RequestUnion::CreateRequest(create);
    watch.send(&WatchRequest { request_union: Some(union) }).unwrap();
    watch.next::<WatchResponse>().await.unwrap().unwrap();
    let union = RequestUnion::CancelRequest(WatchCancelRequest { watch_id: 0 });
    watch.send(&WatchRequest { request_union: Some(union) }).unwrap();
    assert!(watch.next::<WatchResponse>().await.unwrap().unwrap().canceled);
    watch.cancel();
}

fn shown(attribute: &KeyValue) -> (String, String) {
    let value = match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        _ if attribute.key == "server.port" => "a port".to_owned(),
        Some(Value::StringValue(text)) => format!("{text:?}"),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        None => "nothing".to_owned(),
    };
    (attribute.key.clone(), value)
}

/// The spans of each trace as text, calls before their parts.
fn told(collected: &[ResourceSpans]) -> BTreeMap<Vec<u8>, Vec<String>> {
    let spans = || collected.iter().flat_map(|it| &it.scope_spans).flat_map(|it| &it.spans);
    let parent_of = |span: &Span| match &span.parent_span_id[..] {
        parent if parent == PARENT => "the client".to_owned(),
        parent => spans()
            .find(|other| other.span_id[..] == *parent)
            .map_or_else(|| "nobody".to_owned(), |parent| parent.name.clone()),
    };
    let mut told: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for span in spans() {
        let attributes: BTreeMap<_, _> = span.attributes.iter().map(shown).collect();
        let events: Vec<_> = span.events.iter().map(|event| event.name.as_str()).collect();
        assert!(span.end_time_unix_nano > span.start_time_unix_nano && span.span_id.len() == 8);
        told.entry(span.trace_id.to_vec()).or_default().push(format!(
            "{} in {}, kind {}, flags {:x}: {attributes:?}, events {events:?}, status {:?}",
            span.name,
            parent_of(span),
            span.kind,
            span.flags,
            span.status.clone().unwrap_or_default(),
        ));
    }
    told.values_mut().for_each(|spans| spans.sort());
    told
}

#[test]
fn spans_are_those_of_etcd_and_lie_in_the_trace_of_the_client() {
    let Some((pintle, etcd)) = Server::both() else { return };
    let [ours, theirs] = [&pintle, &etcd].map(|server| {
        let scratch = Scratch::new("tracing");
        let collector = Collector::start().unwrap();
        let flags = [
            "--unsafe-no-fsync",
            "--enable-distributed-tracing",
            &format!("--distributed-tracing-address={}", collector.address()),
            "--distributed-tracing-service-name=some",
            "--distributed-tracing-instance-id=one",
        ];
        let mut member = Member::start(server, scratch.path(), &flags).unwrap();
        let client = Client::connect(&member).unwrap();
        client.block_on(ask_everything);
        // Calls end a little after their answers.
        let enough = || (told(&collector.collected()).len() >= 12).then_some(());
        assert!(e2e::until(Duration::from_secs(20), enough).is_some(), "{}", member.log_tail());
        member.stop().unwrap();
        let collected = collector.collected();
        let who: Vec<_> =
            collected[0].resource.as_ref().unwrap().attributes.iter().map(shown).collect();
        assert!(who.contains(&("service.name".to_owned(), "\"some\"".to_owned())), "{who:?}");
        assert!(who.contains(&("service.instance.id".to_owned(), "\"one\"".to_owned())), "{who:?}");
        told(&collected)
    });
    assert_eq!(theirs.len(), 12, "one trace for each call: {theirs:#?}");
    assert_eq!(ours, theirs, "{ours:#?}\n{theirs:#?}");
}

#[test]
fn a_collector_that_is_not_there_costs_nothing_but_its_spans() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("tracing");
    let address = format!("--distributed-tracing-address=127.0.0.1:{}", e2e::free_port());
    let flags = [
        "--unsafe-no-fsync",
        "--enable-distributed-tracing",
        &address,
        "--distributed-tracing-sampling-rate=1000000",
    ];
    let mut member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let client = Client::connect(&member).unwrap();
    // More than wait for it.
    for number in 0..3000 {
        let key = format!("k{number}").into();
        client.call(&PutRequest { key, ..PutRequest::default() }).unwrap();
    }
    let told = || member.log().contains("failed to send spans").then_some(());
    assert!(e2e::until(Duration::from_secs(20), told).is_some(), "{}", member.log_tail());
    assert_eq!(member.log().matches("failed to send spans").count(), 1);
    member.stop().unwrap();
}
