//! JSON over HTTP/2, where etcd has it behind TLS alone: on any connection that begins as HTTP/2.

use bytes::Bytes;
use e2e::Server;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Side;
use super::http::PATIENCE;

struct Http2 {
    requests: SendRequest<Bytes>,
    side: Side,
}

impl Http2 {
    async fn connect(server: &Server) -> Self {
        let side = Side::start(server);
        let io = TcpStream::connect(side.member.address()).await.unwrap();
        let (requests, connection) = h2::client::handshake(io).await.unwrap();
        tokio::spawn(connection);
        Self { requests, side }
    }

    async fn begin(&mut self, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
        let uri = format!("http://{}{path}", self.side.member.address());
        let request = http::Request::post(uri).body(()).unwrap();
        let mut requests = self.requests.clone().ready().await.unwrap();
        requests.send_request(request, false).unwrap()
    }

    async fn post(&mut self, path: &str, body: String) -> (u16, Value) {
        let (response, mut stream) = self.begin(path).await;
        stream.send_data(Bytes::from(body), true).unwrap();
        let response = timeout(PATIENCE, response).await.expect("in time").unwrap();
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        while let Some(part) = part(&mut body).await {
            bytes.extend(part);
        }
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }
}

async fn part(body: &mut RecvStream) -> Option<Bytes> {
    let part = timeout(PATIENCE, body.data()).await.expect("it comes in time")?.unwrap();
    body.flow_control().release_capacity(part.len()).unwrap();
    Some(part)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_goes_by_http2() {
    let Some(pintle) = Server::pintle() else { return };
    let mut http2 = Http2::connect(&pintle).await;
    // Larger than all windows, both ways.
    let value = "AAAA".repeat(300_000);
    let body = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
    assert_eq!(http2.post("/v3/kv/put", body).await.0, 200);
    let (status, reply) = http2.post("/v3/kv/range", r#"{"key":"YQ=="}"#.to_owned()).await;
    assert_eq!((status, reply["kvs"][0]["value"].as_str()), (200, Some(value.as_str())));
    let (status, reply) = http2.post("/v3/nothing", String::new()).await;
    assert_eq!((status, &reply["code"]), (404, &Value::from(5)));
    assert_eq!(http2.post("/v3/kv/range", "{".to_owned()).await.0, 400);

    let (response, mut said) = http2.begin("/v3/watch").await;
    let create = r#"{"create_request":{"key":"YQ==","start_revision":1}}"#;
    for half in [&create[..20], &create[20..]] {
        said.send_data(Bytes::from(half.to_owned()), false).unwrap();
    }
    let mut lines = Vec::new();
    let mut body = response.await.unwrap().into_body();
    while lines.iter().filter(|byte| **byte == b'\n').count() < 2 {
        lines.extend(part(&mut body).await.expect("it goes on"));
    }
    let events = lines.split(|byte| *byte == b'\n').nth(1).unwrap();
    let events: Value = serde_json::from_slice(events).unwrap();
    assert_eq!(events["result"]["events"][0]["kv"]["value"], value);
    said.send_reset(h2::Reason::CANCEL);
    // The connection is of use to others.
    assert_eq!(http2.post("/v3/kv/put", r#"{"key":"YQ=="}"#.to_owned()).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_not_read_is_not_read_ahead_for() {
    let Some(pintle) = Server::pintle() else { return };
    let mut http2 = Http2::connect(&pintle).await;
    let (response, mut said) = http2.begin("/v3/watch").await;
    let create = r#"{"create_request":{"key":"YQ=="}}"#;
    said.send_data(Bytes::from(create), false).unwrap();
    let mut body = response.await.unwrap().into_body();
    assert!(body.data().await.is_some());
    let value = "AAAA".repeat(50_000);
    for _ in 0..20 {
        let body = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        // By another connection: this one's window is full.
        let status = tokio::task::block_in_place(|| http2.side.post("/v3/kv/put", &body).status);
        assert_eq!(status, 200);
    }
    let mut bytes = Vec::new();
    loop {
        bytes.extend(part(&mut body).await.expect("it goes on"));
        let whole = bytes.ends_with(b"\n");
        if whole && String::from_utf8_lossy(&bytes).contains(r#""mod_revision":"21""#) {
            break;
        }
    }
}
