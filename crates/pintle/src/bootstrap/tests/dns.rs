//! Members that the DNS names: a server with a few records stands for it.

use std::net::SocketAddr;
use std::time::Duration;

use net::SrvResolver;
use node::Bootstrap;
use tokio::net::UdpSocket;

use super::{Table, begin_with};

/// Of which service, where.
type Record = (&'static str, u16, &'static str);

/// Answers queries for these records; whoever asks for others hears that there are none.
async fn serve(records: &'static [Record]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("is bound");
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let _ = socket.send_to(&answer(&query[..length], records), from).await;
        }
    });
    address
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = name
        .split('.')
        .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
        .collect();
    bytes.push(0);
    bytes
}

fn answer(query: &[u8], records: &[Record]) -> Vec<u8> {
    // Behind the head comes the name; behind the question, what the asker takes (11 bytes).
    let question = &query[12..query.len() - 11];
    let wanted: Vec<_> =
        records.iter().filter(|record| question.starts_with(&labels(record.0))).collect();
    let flags: [u8; 2] = if wanted.is_empty() { [0x81, 0x83] } else { [0x81, 0x80] };
    let mut bytes = [&query[..2], &flags, &[0, 1, 0, wanted.len() as u8, 0, 0, 0, 0]].concat();
    bytes.extend(question);
    for (_, port, target) in wanted {
        let target = labels(target);
        bytes.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 6 + target.len() as u8, 0, 1, 0, 1]);
        bytes.extend(port.to_be_bytes());
        bytes.extend(target);
    }
    bytes
}

/// How a member begins that is told of the domain.
async fn begin(
    records: &'static [Record],
    line: &[&str],
) -> (Result<Bootstrap, String>, Vec<String>) {
    let mut names = Table::of(&[
        ("a.example.com", [10, 0, 0, 1]),
        ("b.example.com", [10, 0, 0, 2]),
        ("c.example.com", [10, 0, 0, 3]),
    ]);
    let server = serve(records).await;
    names.dns = Some(SrvResolver::with_servers(vec![server], Duration::from_secs(5)));
    let line = [&["--name=me", "--discovery-srv=example.com"], line].concat();
    begin_with(&line, &names).await
}

const THREE: &[Record] = &[
    ("_etcd-server._tcp.example.com", 2380, "a.example.com"),
    ("_etcd-server._tcp.example.com", 2380, "b.example.com"),
    ("_etcd-server._tcp.example.com", 2381, "c.example.com"),
];

fn members(outcome: Result<Bootstrap, String>) -> Vec<(String, String)> {
    let Ok(Bootstrap::New { members }) = outcome else { panic!("{outcome:?}") };
    let mut members: Vec<_> =
        members.iter().map(|it| (it.peer_urls.join(","), it.name.clone())).collect();
    members.sort();
    members
}

fn owned(members: &[(&str, &str)]) -> Vec<(String, String)> {
    members.iter().map(|(url, name)| ((*url).to_owned(), (*name).to_owned())).collect()
}

#[tokio::test]
async fn records_name_the_members_and_one_is_where_this_one_is() {
    // Under the name of the record, or under the address that it stands for.
    for url in ["http://b.example.com:2380", "http://10.0.0.2:2380"] {
        let advertised = format!("--initial-advertise-peer-urls={url}");
        let (outcome, messages) = begin(THREE, &[&advertised]).await;
        let expected = owned(&[
            ("http://a.example.com:2380", "0"),
            ("http://b.example.com:2380", "me"),
            ("http://c.example.com:2381", "1"),
        ]);
        assert_eq!(members(outcome), expected);
        let told = "got bootstrap from DNS for etcd-server";
        assert_eq!(messages.iter().filter(|text| *text == told).count(), 3);
        // No record of the other kind is no failure to speak of, but it is told.
        assert!(messages.contains(&"failed to resolve during SRV discovery".to_owned()));
    }
}

#[tokio::test]
async fn a_suffix_tells_clusters_of_one_domain_apart() {
    let records = &[
        ("_etcd-server._tcp.example.com", 2380, "a.example.com"),
        ("_etcd-server-x._tcp.example.com", 2380, "b.example.com"),
    ];
    let line = ["--discovery-srv-name=x", "--initial-advertise-peer-urls=http://10.0.0.2:2380"];
    let (outcome, _) = begin(records, &line).await;
    assert_eq!(members(outcome), owned(&[("http://b.example.com:2380", "me")]));
}

#[tokio::test]
async fn what_is_wrong_with_records_is_told_in_etcds_words() {
    let me = "--initial-advertise-peer-urls=http://10.0.0.2:2380";
    let error = begin(THREE, &["--initial-advertise-peer-urls=http://10.0.0.9:2380"]).await.0;
    assert_eq!(
        error.expect_err("no record of this member"),
        "cannot find local etcd member \"me\" in SRV records"
    );
    let secure = &[("_etcd-server-ssl._tcp.example.com", 2380, "b.example.com")];
    let error = begin(secure, &[me]).await.0.expect_err("this member speaks no TLS");
    let mismatch = "error querying DNS SRV records for _etcd-server-ssl bootstrap at \
                    https://b.example.com:2380 from DNS for etcd-server-ssl has scheme mismatch \
                    with expected peer http://10.0.0.2:2380\n\
                    error querying DNS SRV records for _etcd-server lookup \
                    _etcd-server._tcp.example.com on 127.0.0.1:";
    assert!(error.starts_with(mismatch), "{error}");
    assert!(error.ends_with(": no such host"), "{error}");
    let nowhere = &[("_etcd-server._tcp.example.com", 2380, "nowhere.example.com")];
    let error = begin(nowhere, &[me]).await.0.expect_err("nobody is there");
    assert!(error.ends_with("_etcd-server lookup nowhere.example.com: no such host"), "{error}");
    let error = begin(THREE, &["--initial-advertise-peer-urls=http://nowhere:1"]).await.0;
    let twice = "lookup nowhere: no such host\nlookup nowhere: no such host";
    assert_eq!(error.expect_err("this member is nowhere"), twice);
}
