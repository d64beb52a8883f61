use std::net::SocketAddr;
use std::time::Duration;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use super::message::{Answer, Query};
use super::{DnsError, SrvRecord, SrvResolver};

/// Makes an answer of a query.
type Answerer = fn(&[u8]) -> Vec<u8>;

const NAME: &str = "_etcd-server._tcp.example.com";

/// An answer to a query: flags and records, each target in labels of its own.
fn answer(query: &[u8], flags: u16, records: &[(u16, u16, u16, &str)]) -> Vec<u8> {
    // Without the last record of the query, which has eleven bytes.
    let mut bytes = query[..query.len() - 11].to_vec();
    bytes[2..4].copy_from_slice(&(0x8180 | flags).to_be_bytes());
    bytes[6..8].copy_from_slice(&(records.len() as u16).to_be_bytes());
    bytes[10..12].copy_from_slice(&[0, 0]);
    for (priority, weight, port, target) in records {
        // The name is that of the question.
        bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60]);
        let mut data: Vec<u8> =
            [*priority, *weight, *port].iter().flat_map(|number| number.to_be_bytes()).collect();
        for label in target.split('.') {
            data.push(label.len() as u8);
            data.extend(label.as_bytes());
        }
        data.push(0);
        bytes.extend((data.len() as u16).to_be_bytes());
        bytes.extend(data);
    }
    bytes
}

fn record(priority: u16, port: u16, target: &str) -> SrvRecord {
    SrvRecord { priority, weight: 5, port, target: target.to_owned() }
}

/// Answers one query by each of these, in order, and whatever comes by TCP by the last.
async fn serve(answers: Vec<Answerer>) -> SocketAddr {
    let udp = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = udp.local_addr().expect("is bound");
    let by_tcp = *answers.last().expect("an answer");
    let tcp = TcpListener::bind(address).await;
    tokio::spawn(async move {
        for answer in answers {
            let mut query = [0; 512];
            let Ok((length, from)) = udp.recv_from(&mut query).await else { return };
            let _ = udp.send_to(&answer(&query[..length]), from).await;
        }
    });
    if let Ok(tcp) = tcp {
        tokio::spawn(async move {
            let Ok((mut stream, _)) = tcp.accept().await else { return };
            let length = stream.read_u16().await.unwrap_or_default();
            let mut query = vec![0; usize::from(length)];
            let _ = stream.read_exact(&mut query).await;
            let answer = by_tcp(&query);
            let _ = stream.write_u16(answer.len() as u16).await;
            let _ = stream.write_all(&answer).await;
        });
    }
    address
}

async fn lookup(answers: Vec<Answerer>) -> Result<Vec<SrvRecord>, DnsError> {
    let server = serve(answers).await;
    SrvResolver::with_servers(vec![server], Duration::from_secs(5)).lookup(NAME).await
}

fn two(query: &[u8]) -> Vec<u8> {
    answer(query, 0, &[(2, 5, 2380, "b.example.com"), (1, 5, 2381, "a.example.com")])
}

#[tokio::test]
async fn records_come_by_priority() {
    let found = lookup(vec![two]).await.expect("an answer");
    assert_eq!(found, [record(1, 2381, "a.example.com"), record(2, 2380, "b.example.com")]);
}

#[tokio::test]
async fn who_does_not_know_the_query_is_not_believed() {
    let other_id: Answerer = |query| {
        let mut bytes = answer(query, 0, &[(1, 5, 1, "evil.example.com")]);
        bytes[0] ^= 1;
        bytes
    };
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = server.local_addr().expect("is bound");
    tokio::spawn(async move {
        let mut query = [0; 512];
        let (length, from) = server.recv_from(&mut query).await.expect("a query");
        for answer in [other_id, |_| b"nonsense".to_vec(), two] {
            server.send_to(&answer(&query[..length]), from).await.expect("is sent");
        }
    });
    let resolver = SrvResolver::with_servers(vec![address], Duration::from_secs(5));
    assert_eq!(resolver.lookup(NAME).await.expect("an answer").len(), 2);
}

#[tokio::test]
async fn what_is_too_long_for_udp_comes_by_tcp() {
    // Another process may have the same port for TCP.
    for _ in 0..10 {
        let server = serve(vec![|query| answer(query, 0x0200, &[]), two]).await;
        let resolver = SrvResolver::with_servers(vec![server], Duration::from_secs(5));
        if let Ok(found) = resolver.lookup(NAME).await {
            assert_eq!(found.len(), 2);
            return;
        }
    }
    panic!("no answer by TCP");
}

#[tokio::test]
async fn failures_are_told_as_go_tells_them() {
    let error = lookup(vec![|query| answer(query, 3, &[])]).await.expect_err("no such name");
    assert!(error.to_string().starts_with(&format!("lookup {NAME} on 127.0.0.1:")), "{error}");
    assert!(error.to_string().ends_with(": no such host"), "{error}");
    let error = lookup(vec![|query| answer(query, 0, &[])]).await.expect_err("no records");
    assert!(matches!(error, DnsError::NotFound { .. }), "{error}");
    let error = lookup(vec![|query| answer(query, 2, &[])]).await.expect_err("it fails");
    assert!(error.to_string().ends_with(": server misbehaving"), "{error}");
    let resolver = SrvResolver::with_servers(Vec::new(), Duration::from_secs(1));
    let error = resolver.lookup("a..b").await.expect_err("no name");
    assert_eq!(error.to_string(), "lookup a..b: not a domain name");
}

#[tokio::test]
async fn the_next_server_is_asked_when_one_is_not_there_or_fails() {
    let gone = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let gone_from = gone.local_addr().expect("is bound");
    drop(gone);
    let failing = serve(vec![|query| answer(query, 2, &[])]).await;
    let good = serve(vec![two]).await;
    let servers = vec![gone_from, failing, good];
    let resolver = SrvResolver::with_servers(servers, Duration::from_secs(5));
    assert_eq!(resolver.lookup(NAME).await.expect("an answer").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_not_waited_for_for_ever() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let at = silent.local_addr().expect("is bound");
    let resolver = SrvResolver::with_servers(vec![at], Duration::from_secs(5));
    let error = resolver.lookup(NAME).await.expect_err("nothing is said");
    assert_eq!(error.to_string(), format!("lookup {NAME} on {at}: i/o timeout"));
}

#[test]
fn names_that_go_in_circles_or_out_of_the_message_are_no_answer() {
    let query = Query::srv(7, "a.example.").expect("a name");
    let good = answer(query.bytes(), 0, &[(1, 2, 3, "b.example")]);
    let told = Answer::Records(vec![SrvRecord {
        priority: 1,
        weight: 2,
        port: 3,
        target: "b.example".to_owned(),
    }]);
    assert_eq!(query.answer(&good), Some(told));
    let target = good.len() - "b.example".len() - 2;
    for pointer in [target as u16, 0x3fff] {
        let mut bad = good[..target].to_vec();
        bad.extend((0xc000 | pointer).to_be_bytes());
        let length = target - 8;
        bad[length..length + 2].copy_from_slice(&8_u16.to_be_bytes());
        assert_eq!(query.answer(&bad), None, "{pointer}");
    }
    for end in 0..good.len() {
        assert_eq!(query.answer(&good[..end]), None, "{end}");
    }
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_refused(at in 0_usize..80, with: [u8; 4], tail: Vec<u8>) {
        let query = Query::srv(7, "a.example.").expect("a name");
        let mut bytes = answer(query.bytes(), 0, &[(1, 2, 3, "b.example"), (1, 2, 3, "c")]);
        for (to, from) in bytes.iter_mut().skip(at).zip(with) {
            *to = from;
        }
        bytes.extend(&tail);
        let _ = query.answer(&bytes);
        let _ = query.answer(&tail);
    }
}
