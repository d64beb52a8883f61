//! A name server: where members are, for those who look for each other in the DNS.
//!
//! It knows one domain. `_etcd-server._tcp.DOMAIN` has a record for each member, and `mN.DOMAIN`
//! an address. Whatever else is asked for is not there.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

const PORT: u16 = 53;
const HEAD_BYTES: usize = 12;
const IS_ANSWER: u16 = 0x8400;
const IS_CUT_OFF: u16 = 0x0200;
const NO_SUCH_NAME: u16 = 3;
const TYPE_A: u16 = 1;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;
/// Where the question's name is, in place of a name.
const OF_QUESTION: u16 = 0xc00c;
/// Of UDP messages without extensions.
const UDP_BYTES: usize = 4096;

/// Something that was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Who.
    pub from: IpAddr,
    /// By TCP; else by UDP.
    pub by_tcp: bool,
    /// The name.
    pub name: String,
}

/// The server; it ends with the runtime that it was started on.
#[derive(Debug, Clone)]
pub struct Names {
    zone: Arc<Zone>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// What it knows.
#[derive(Debug)]
pub(crate) struct Zone {
    pub(crate) domain: String,
    /// Members by their names.
    pub(crate) members: Vec<(String, Ipv4Addr, u16)>,
    /// Who is told by UDP that there is more to say than fits.
    pub(crate) by_tcp: Ipv4Addr,
}

impl Names {
    pub(crate) fn start(runtime: &Runtime, at: Ipv4Addr, zone: Zone) -> anyhow::Result<Self> {
        let names = Self { zone: Arc::new(zone), asked: Arc::default() };
        let (udp, tcp) = runtime.block_on(async {
            let udp = UdpSocket::bind((at, PORT)).await.context("listening for names by UDP")?;
            let tcp = TcpListener::bind((at, PORT)).await.context("listening for names by TCP")?;
            anyhow::Ok((udp, tcp))
        })?;
        runtime.spawn(names.clone().serve_udp(udp));
        runtime.spawn(names.clone().serve_tcp(tcp));
        Ok(names)
    }

    /// All that it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn serve_udp(self, socket: UdpSocket) {
        let mut buffer = [0; UDP_BYTES];
        loop {
            // An error is about a message that somebody did not take.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            let answer = buffer.get(..length).and_then(|bytes| self.answer(bytes, from, false));
            if let Some(answer) = answer {
                let _ = socket.send_to(&answer, from).await;
            }
        }
    }

    async fn serve_tcp(self, listener: TcpListener) {
        loop {
            let Ok((stream, from)) = listener.accept().await else { continue };
            let names = self.clone();
            // Who hangs up has what it wanted.
            tokio::spawn(async move { names.serve_stream(stream, from).await.unwrap_or_default() });
        }
    }

    async fn serve_stream(&self, mut stream: TcpStream, from: SocketAddr) -> std::io::Result<()> {
        loop {
            let length = stream.read_u16().await?;
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await?;
            let Some(answer) = self.answer(&query, from, true) else { return Ok(()) };
            let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes()[..], &answer].concat()).await?;
        }
    }

    /// None to what is no question.
    fn answer(&self, query: &[u8], from: SocketAddr, by_tcp: bool) -> Option<Vec<u8>> {
        let (name, question) = question(query)?;
        let kind = u16::from_be_bytes(*question.last_chunk::<4>()?.first_chunk()?);
        let asked = Asked { from: from.ip(), by_tcp, name: name.clone() };
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        let (mut flags, mut records) = (IS_ANSWER, Vec::new());
        match self.records(&name, kind) {
            None => flags |= NO_SUCH_NAME,
            Some(_) if !by_tcp && kind == TYPE_SRV && from.ip() == self.zone.by_tcp => {
                flags |= IS_CUT_OFF;
            }
            Some(found) => records = found,
        }
        let mut answer = query.get(..2)?.to_vec();
        for number in [flags, 1, u16::try_from(records.len()).ok()?, 0, 0] {
            answer.extend(number.to_be_bytes());
        }
        answer.extend(question);
        for data in records {
            for number in [OF_QUESTION, kind, CLASS_IN, 0, 60, u16::try_from(data.len()).ok()?] {
                answer.extend(number.to_be_bytes());
            }
            answer.extend(data);
        }
        Some(answer)
    }

    /// What there is of a name, none if there is no such name.
    fn records(&self, name: &str, kind: u16) -> Option<Vec<Vec<u8>>> {
        let Zone { domain, members, .. } = &*self.zone;
        let place = name.strip_suffix(domain.as_str())?.strip_suffix('.')?;
        if place == "_etcd-server._tcp" {
            let of_member = |(name, _, port): &(String, Ipv4Addr, u16)| {
                let numbers = [0_u16, 0, *port].map(u16::to_be_bytes).concat();
                [numbers, labels(&format!("{name}.{domain}"))].concat()
            };
            let known = kind == TYPE_SRV;
            return Some(members.iter().filter(|_| known).map(of_member).collect());
        }
        let (_, address, _) = members.iter().find(|(name, _, _)| name == place)?;
        let known = kind == TYPE_A;
        Some(known.then(|| address.octets().to_vec()).into_iter().collect())
    }
}

/// The name that is asked for, in lower case, and the whole question.
fn question(query: &[u8]) -> Option<(String, &[u8])> {
    let mut at = HEAD_BYTES;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        let label = query.get(at + 1..at + 1 + length)?;
        at += 1 + length;
        if label.is_empty() {
            break;
        }
        labels.push(String::from_utf8_lossy(label).to_lowercase());
    }
    Some((labels.join("."), query.get(HEAD_BYTES..at + 4)?))
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("no test has such names"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
