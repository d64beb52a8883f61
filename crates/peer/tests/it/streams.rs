//! Streams, both ways, as they are on the wire.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::{Bootstrap, Peers as _};
use proto::Message as _;
use proto::raftpb::{Message, MessageType};
use tokio::time::Instant;

use crate::answers::signed;
use crate::fake::Fake;
use crate::member::{DEADLINE, Directory, Member, PATIENCE, TOKEN, pause, socket, until};

/// A member whose two others are fakes, and their ids.
struct Scene {
    member: Member,
    fakes: Vec<Fake>,
    ids: Vec<u64>,
}

impl Scene {
    fn new() -> Self {
        Self::with_deadline(DEADLINE)
    }

    fn with_deadline(deadline: Duration) -> Self {
        let (socket, url) = socket();
        let fakes = vec![Fake::start(), Fake::start()];
        let urls = [url.clone(), fakes[0].url.clone(), fakes[1].url.clone()];
        let first = urls.iter().enumerate();
        let first = first.map(|(number, url)| (format!("m{number}"), [url.clone()]));
        let bootstrap = Bootstrap::with_new(first, TOKEN);
        let Bootstrap::New { members } = &bootstrap else { panic!("it is new") };
        let id = |name: &str| {
            let mut all = members.iter();
            all.find(|member| member.name == name).map(|member| member.id.0).expect("it is one")
        };
        let ids = vec![id("m1"), id("m2")];
        let member =
            Member::start_with("m0", socket, &url, Some(bootstrap), Directory::new(), deadline);
        Self { member, fakes, ids }
    }

    fn heartbeat(&self, number: usize, term: u64) -> Message {
        Message {
            r#type: Some(MessageType::MsgHeartbeat as i32),
            to: Some(self.member.node().member_id()),
            from: Some(self.ids[number]),
            term: Some(term),
            commit: Some(0),
            ..Default::default()
        }
    }

    /// The first fake leads from now on.
    fn lead(&self, term: u64) {
        until("a stream", || self.fakes[0].has_stream("message"));
        until("its obedience", || {
            self.fakes[0].tell(&self.heartbeat(0, term));
            self.member.node().header().raft_term == term && self.member.node().has_leader()
        });
    }
}

/// Reads the body of a stream that was dialled: what is in its chunks.
struct Body(TcpStream);

impl Body {
    fn dial(member: &Member, kind: &str, id: u64) -> Self {
        let mut stream = TcpStream::connect(member.host()).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout may be set");
        let mut head = format!("GET /raft/stream/{kind}/{id:x} HTTP/1.1\r\nHost: m\r\n");
        for (name, value) in signed(member.node()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).expect("it is taken");
        let mut body = Self(stream);
        let head = body.head();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("x-server-version: 3.7.1\r\n"), "{head}");
        assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
        body
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("it goes on");
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text")
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push_str(&self.line());
        }
        head
    }

    fn chunk(&mut self) -> Vec<u8> {
        let line = self.line();
        let len = usize::from_str_radix(line.trim_end(), 16).expect("the length of a chunk");
        let mut chunk = vec![0; len + 2];
        self.0.read_exact(&mut chunk).expect("it goes on");
        chunk.truncate(len);
        chunk
    }

    /// The messages of the next chunk.
    fn messages(&mut self) -> Vec<Message> {
        let chunk = self.chunk();
        let (mut rest, mut messages) = (&chunk[..], Vec::new());
        while let Some((len, behind)) = rest.split_first_chunk::<8>() {
            let (message, next) = behind.split_at(u64::from_be_bytes(*len) as usize);
            messages.push(Message::decode(message).expect("a message"));
            rest = next;
        }
        messages
    }
}

#[test]
fn streams_are_dialled_as_etcd_expects_them() {
    let scene = Scene::new();
    let node = scene.member.node();
    let me = format!("{:x}", node.member_id());
    for (fake, id) in scene.fakes.iter().zip(&scene.ids) {
        until("both streams", || fake.has_stream("message") && fake.has_stream("msgapp"));
        for kind in ["message", "msgapp"] {
            let asked = fake.asked(&format!("GET /raft/stream/{kind}/"));
            let asked = asked.first().expect("it was dialled");
            assert_eq!(asked.request, format!("GET /raft/stream/{kind}/{me}"));
            let expected = [
                ("x-server-from", me.clone()),
                ("x-server-version", "3.7.1".to_owned()),
                ("x-min-cluster-version", "3.0.0".to_owned()),
                ("x-etcd-cluster-id", format!("{:x}", node.cluster_id())),
                ("x-raft-to", format!("{id:x}")),
                ("x-peerurls", scene.member.url.clone()),
                ("host", fake.url.trim_start_matches("http://").to_owned()),
            ];
            for (name, value) in expected {
                assert_eq!(asked.headers.get(name), Some(&value), "{name}");
            }
            assert!(asked.body.is_empty());
        }
    }
}

#[test]
fn what_is_heard_is_answered_by_post_until_there_is_a_stream() {
    let scene = Scene::new();
    scene.lead(7);
    let is_answer = |message: &Message| {
        message.r#type == Some(MessageType::MsgHeartbeatResp as i32)
            && (message.term(), message.to()) == (7, scene.ids[0])
    };
    until("a posted answer", || scene.fakes[0].posted().iter().any(is_answer));
    let posted = scene.fakes[0].asked("POST /raft");
    let headers = &posted.first().expect("one was posted").headers;
    let content = headers.get("content-type").map(String::as_str);
    assert_eq!(content, Some("application/protobuf"));
    assert_eq!(headers.get("x-peerurls"), Some(&scene.member.url));

    let mut body = Body::dial(&scene.member, "message", scene.ids[0]);
    let told = |body: &mut Body| {
        scene.fakes[0].tell(&scene.heartbeat(0, 7));
        let messages = body.messages();
        assert!(messages.iter().any(is_answer), "{messages:?}");
    };
    // What was on its way by post has arrived by then.
    (0..3).for_each(|_| told(&mut body));
    let before = scene.fakes[0].posted().len();
    (0..3).for_each(|_| told(&mut body));
    assert_eq!(scene.fakes[0].posted().len(), before, "nothing is posted any more");
    // Where it has nothing to say it shows that it is there.
    let mut quiet = Body::dial(&scene.member, "message", scene.ids[1]);
    let mut dense = Body::dial(&scene.member, "msgapp", scene.ids[0]);
    let done = &AtomicBool::new(false);
    let scene = &scene;
    std::thread::scope(|scope| {
        let begun = Instant::now();
        scope.spawn(move || {
            while !done.load(Ordering::SeqCst) && begun.elapsed() < PATIENCE {
                scene.fakes[0].tell(&scene.heartbeat(0, 7));
                pause();
            }
        });
        let signs = quiet.messages();
        let [sign] = &signs[..] else { panic!("{signs:?}") };
        assert_eq!(sign.r#type, Some(MessageType::MsgHeartbeat as i32));
        assert_eq!((sign.from(), sign.to()), (0, 0));
        assert_eq!(dense.chunk(), [0]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        done.store(true, Ordering::SeqCst);
    });

    // The newest stream of a kind is the one.
    let mut newer = Body::dial(&scene.member, "message", scene.ids[0]);
    let mut rest = Vec::new();
    body.0.read_to_end(&mut rest).expect("it is closed");
    assert!(!newer.chunk().is_empty());
}

#[test]
fn appends_come_in_the_dense_form_and_are_answered() {
    let scene = Scene::new();
    scene.lead(7);
    let mut body = Body::dial(&scene.member, "message", scene.ids[0]);
    until("a stream", || scene.fakes[0].has_stream("msgapp"));
    // A bootstrapped log has three entries, of term 1.
    let entry = |index: u64| proto::raftpb::Entry {
        term: Some(7),
        index: Some(index),
        ..Default::default()
    };
    let whole = Message {
        r#type: Some(MessageType::MsgApp as i32),
        to: Some(scene.member.node().member_id()),
        from: Some(scene.ids[0]),
        term: Some(7),
        log_term: Some(1),
        index: Some(3),
        entries: vec![entry(4)],
        commit: Some(3),
        ..Default::default()
    };
    let sized = |bytes: Vec<u8>| [&(bytes.len() as u64).to_be_bytes()[..], &bytes].concat();
    let whole = [&[2][..], &sized(whole.encode_to_vec())].concat();
    // Two more entries, and what is committed with them; cut in the middle of a number.
    let dense = [
        &[0, 1][..],
        &2_u64.to_be_bytes(),
        &sized(entry(5).encode_to_vec()),
        &sized(entry(6).encode_to_vec()),
        &5_u64.to_be_bytes(),
    ]
    .concat();
    let all = [whole, dense].concat();
    let (one, two) = all.split_at(all.len() - 20);
    assert!(scene.fakes[0].say("msgapp", one) && scene.fakes[0].say("msgapp", two));
    let mut seen = 0;
    while seen < 6 {
        for message in body.messages() {
            let is_answer = message.r#type == Some(MessageType::MsgAppResp as i32);
            if is_answer && message.to() == scene.ids[0] {
                assert!(!message.reject(), "{message:?}");
                seen = message.index();
            }
        }
    }
    until("what is committed", || scene.member.node().status().raft_applied_index == 5);
}

#[test]
fn a_stream_that_ends_or_makes_no_sense_is_dialled_again() {
    let scene = Scene::new();
    let fake = &scene.fakes[0];
    let dialled = |kind: &str| fake.asked(&format!("GET /raft/stream/{kind}/")).len();
    let transport = scene.member.transport();
    until("both streams", || fake.has_stream("message") && fake.has_stream("msgapp"));
    until("being heard", || transport.active_for(scene.ids[0]).is_some());

    let before = dialled("message");
    fake.cut("message");
    until("another stream", || dialled("message") > before && fake.has_stream("message"));
    let before = dialled("msgapp");
    assert!(fake.say("msgapp", &[9]), "no such kind of message");
    until("another stream", || dialled("msgapp") > before && fake.has_stream("msgapp"));
    let before = dialled("message");
    assert!(fake.say("message", &[0xff; 8]), "too large");
    until("another stream", || dialled("message") > before && fake.has_stream("message"));

    // Refused, it goes on trying, and hears nobody.
    let refused = "HTTP/1.1 412 Precondition Failed\r\nX-Server-Version: 3.7.1\r\n\
                   Content-Length: 20\r\n\r\ncluster ID mismatch\n";
    fake.answers("GET /raft/stream/", refused);
    fake.cut("message");
    fake.cut("msgapp");
    until("silence", || transport.active_for(scene.ids[0]).is_none());
    let before = dialled("message");
    until("more tries", || dialled("message") > before + 3);
    fake.answers("GET /raft/stream/", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let before = dialled("message");
    until("more tries", || dialled("message") > before + 3);
    assert!(transport.active_for(scene.ids[0]).is_none(), "it does not say its version");
    fake.forget_answer("GET /raft/stream/");
    until("being heard", || transport.active_for(scene.ids[0]).is_some());
}

#[test]
fn a_stream_without_a_sign_of_life_is_given_up() {
    let scene = Scene::new();
    let fake = &scene.fakes[0];
    until("both streams", || fake.has_stream("message") && fake.has_stream("msgapp"));
    let dialled = |kind: &str| fake.asked(&format!("GET /raft/stream/{kind}/")).len();
    let begun = Instant::now();
    let before = dialled("message");
    until("another stream", || {
        assert!(fake.say("msgapp", &[0]), "the other one lives");
        dialled("message") > before
    });
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(dialled("msgapp"), 1);
}

#[test]
fn connections_are_held_to_the_times_that_are_asked_for() {
    let deadline = Duration::from_secs(1);
    let scene = Scene::with_deadline(deadline);
    let fake = &scene.fakes[0];
    let soon = |begun: Instant| {
        let took = begun.elapsed();
        assert!(took > deadline / 2 && took < DEADLINE - deadline / 2, "{took:?}");
    };
    // Who is dialled and says nothing.
    until("both streams", || fake.has_stream("message") && fake.has_stream("msgapp"));
    let dialled = || fake.asked("GET /raft/stream/message/").len();
    let (begun, before) = (Instant::now(), dialled());
    until("another stream", || dialled() > before);
    soon(begun);

    // Who dials and asks nothing.
    let mut idle = TcpStream::connect(scene.member.host()).expect("it listens");
    idle.set_read_timeout(Some(PATIENCE)).expect("a timeout may be set");
    let begun = Instant::now();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).expect("it is closed");
    assert_eq!(String::from_utf8_lossy(&rest), "");
    soon(begun);

    // Who dials and takes nothing: when its stream is gone, messages are posted.
    let stuck = Body::dial(&scene.member, "message", scene.ids[0]);
    let large = Message {
        r#type: Some(MessageType::MsgHeartbeat as i32),
        to: Some(scene.ids[0]),
        context: Some(vec![0; 1 << 20].into()),
        ..Default::default()
    };
    // More than all buffers on the way hold.
    scene.member.transport().send(&mut vec![large; 64]);
    let begun = Instant::now();
    let small = Message { index: Some(4242), to: Some(scene.ids[0]), ..Default::default() };
    until("a post", || {
        scene.member.transport().send(&mut vec![small.clone()]);
        fake.posted().iter().any(|posted| posted.index() == 4242)
    });
    soon(begun);
    drop(stuck);
}

#[test]
fn one_word_of_having_been_removed_is_not_enough() {
    let scene = Scene::new();
    let node = scene.member.node();
    let failure = scene.member.running().failure();
    let json = |cluster: u64, body: &str| {
        let len = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nX-Etcd-Cluster-Id: {cluster:x}\r\nContent-Length: {len}\r\n\r\n{body}"
        )
    };
    let with_us = json(node.cluster_id(), &format!("[{{\"id\":{}}}]", node.member_id()));
    let without_us = json(node.cluster_id(), &format!("[{{\"id\":{}}}]", scene.ids[1]));
    let gone = "HTTP/1.1 410 Gone\r\nX-Server-Version: 3.7.1\r\n\
                Content-Length: 15\r\n\r\nremoved member\n";
    for kind in ["message", "msgapp"] {
        until("a stream", || scene.fakes[0].has_stream(kind));
    }
    scene.fakes[1].answers("GET /members", &with_us);
    scene.fakes[0].answers("GET /members", &without_us);
    scene.fakes[0].answers("GET /raft/stream/", gone);
    scene.fakes[0].answers("POST /raft", "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    scene.fakes[0].cut("message");
    scene.fakes[0].cut("msgapp");
    until("a second question", || scene.fakes[1].asked("GET /members").len() >= 2);
    assert_eq!(*failure.borrow(), None);
    // Another cluster's word is none.
    scene.fakes[1].answers("GET /members", &json(1, "[]"));
    until("more questions", || scene.fakes[1].asked("GET /members").len() >= 4);
    assert_eq!(*failure.borrow(), None);
    scene.fakes[1].answers("GET /members", &without_us);
    until("its end", || failure.borrow().is_some());
}
