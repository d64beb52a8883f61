//! A load against a server that answers what a test wants.

use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Response};
use proto::etcdserverpb::RangeResponse;
use proto::mvccpb::KeyValue;
use tokio::net::TcpListener;

use crate::grpc::frame;
use crate::load::run;
use crate::options::{Plan, Until, Workload};

/// How the server answers.
#[derive(Clone, Copy)]
enum Manner {
    /// With a value of so many bytes, in two pieces.
    Value(usize),
    Refuse,
    HangUp,
}

/// Serves in a thread of its own until the process ends.
fn serve(manner: Manner) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("starts").block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            let address = listener.local_addr().expect("is bound");
            tell.send(format!("http://{address}")).expect("is awaited");
            loop {
                let (socket, _) = listener.accept().await.expect("accepts");
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(socket).await.expect("greets");
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        match manner {
                            Manner::HangUp => return,
                            _ => answer(manner, respond),
                        }
                    }
                });
            }
        });
    });
    told.recv().expect("the server begins")
}

fn answer(manner: Manner, mut respond: SendResponse<Bytes>) {
    let head = Response::builder().header("content-type", "application/grpc");
    let Manner::Value(length) = manner else {
        let head = head.header("grpc-status", "5").header("grpc-message", "not today");
        respond.send_response(head.body(()).expect("is right"), true).expect("sends");
        return;
    };
    let kv = KeyValue { value: vec![b'x'; length].into(), ..KeyValue::default() };
    let message = frame(&RangeResponse { kvs: vec![kv], ..RangeResponse::default() });
    let mut stream = respond.send_response(head.body(()).expect("is right"), false).expect("sends");
    let mut rest = message;
    let piece = rest.split_to(3);
    stream.send_data(piece, false).expect("sends");
    stream.send_data(rest, false).expect("sends");
    let trailers = HeaderMap::from_iter([(
        http::header::HeaderName::from_static("grpc-status"),
        http::HeaderValue::from_static("0"),
    )]);
    stream.send_trailers(trailers).expect("sends");
}

fn plan(endpoint: String) -> Plan {
    Plan {
        endpoints: vec![endpoint],
        pids: Vec::new(),
        workload: Workload::Get,
        connections: 2,
        in_flight: 5,
        until: Until::Requests(100),
        warm_up: Duration::ZERO,
        value_size: 16,
        fill: false,
        auth: false,
    }
}

#[test]
fn a_load_counts_what_was_asked_for() {
    let plan = plan(serve(Manner::Value(16)));
    let report = run(&plan).expect("is answered");
    assert_eq!(report.requests, 100);
    assert!(report.p50_us > 0.0 && report.p50_us <= report.p99_us);
    assert!(report.p99_us <= report.max_us && report.server_cpu_us.is_none());
    assert!(report.json().starts_with("{\"workload\":\"get\",\"connections\":2,\"in_flight\":5,"));
}

#[test]
fn a_wrong_answer_stops_the_load() {
    let cases = [
        (Manner::Value(3), "are the keys there?"),
        (Manner::Refuse, "not today"),
        (Manner::HangUp, ""),
    ];
    for (manner, text) in cases {
        let error = run(&plan(serve(manner))).expect_err("is wrong").to_string();
        assert!(error.contains(text), "{error}");
    }
}
