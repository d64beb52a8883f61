//! Another member that says what it is told to, in plain bytes.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use proto::Message as _;
use proto::raftpb;

/// Something that was asked of it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `GET /members`
    pub(crate) request: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

#[derive(Default)]
struct Inside {
    asked: Vec<Asked>,
    answers: HashMap<String, String>,
    streams: HashMap<&'static str, TcpStream>,
    stopped: bool,
}

pub(crate) struct Fake {
    pub(crate) url: String,
    inside: Arc<Mutex<Inside>>,
    thread: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let inside = Arc::new(Mutex::new(Inside::default()));
        let shared = Arc::clone(&inside);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().unwrap().stopped {
                    return;
                }
                let (stream, shared) = (stream.expect("it is accepted"), Arc::clone(&shared));
                // It ends with its connection.
                std::thread::spawn(move || serve(&stream, &shared));
            }
        });
        Self { url, inside, thread: Some(thread) }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("no holder of this lock panics")
    }

    /// What it answers from now on: the whole answer, by the beginning of the request. Streams
    /// that nothing is said of are opened.
    pub(crate) fn answers(&self, request: &str, answer: &str) {
        self.inside().answers.insert(request.to_owned(), answer.to_owned());
    }

    pub(crate) fn forget_answer(&self, request: &str) {
        self.inside().answers.remove(request);
    }

    /// What it was asked that begins so, in order.
    pub(crate) fn asked(&self, request: &str) -> Vec<Asked> {
        let inside = self.inside();
        inside.asked.iter().filter(|it| it.request.starts_with(request)).cloned().collect()
    }

    /// The messages that were posted to it.
    pub(crate) fn posted(&self) -> Vec<raftpb::Message> {
        let posts = self.asked("POST /raft").into_iter();
        posts.map(|it| raftpb::Message::decode(&it.body[..]).expect("a message")).collect()
    }

    pub(crate) fn has_stream(&self, kind: &'static str) -> bool {
        self.inside().streams.contains_key(kind)
    }

    /// Says something on a stream that was dialled; whether it went out.
    pub(crate) fn say(&self, kind: &'static str, bytes: &[u8]) -> bool {
        let mut inside = self.inside();
        let Some(stream) = inside.streams.get_mut(kind) else { return false };
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        stream.write_all(&chunk).is_ok()
    }

    pub(crate) fn tell(&self, message: &raftpb::Message) -> bool {
        let message = message.encode_to_vec();
        self.say("message", &[&(message.len() as u64).to_be_bytes()[..], &message].concat())
    }

    /// Ends a stream.
    pub(crate) fn cut(&self, kind: &'static str) {
        let stream = self.inside().streams.remove(kind);
        if let Some(stream) = stream {
            stream.shutdown(std::net::Shutdown::Both).expect("it was open");
        }
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let address = self.url.strip_prefix("http://").expect("its own URL").to_owned();
        if let Ok(mut inside) = self.inside.lock() {
            inside.stopped = true;
            inside.streams.clear();
        }
        // Wakes who accepts.
        let _ = TcpStream::connect(address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, shared: &Mutex<Inside>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor is to be had"));
    while let Some(asked) = read(&mut reader) {
        let request = asked.request.clone();
        let mut inside = shared.lock().expect("no holder of this lock panics");
        if inside.stopped {
            return;
        }
        inside.asked.push(asked);
        let answers = inside.answers.iter();
        let answer = answers.filter(|(begin, _)| request.starts_with(begin.as_str()));
        let answer = answer.max_by_key(|(begin, _)| begin.len()).map(|(_, answer)| answer.clone());
        let answer = answer.unwrap_or_else(|| default(&request));
        let mut writer = stream;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
        if answer == STREAM {
            let kind = if request.contains("/msgapp/") { "msgapp" } else { "message" };
            inside.streams.insert(kind, stream.try_clone().expect("a descriptor is to be had"));
        }
    }
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\nX-Server-Version: 3.7.1\r\nTransfer-Encoding: chunked\r\n\r\n";

fn default(request: &str) -> String {
    if request.starts_with("GET /raft/stream/") {
        STREAM.to_owned()
    } else if request.starts_with("POST /raft") {
        "HTTP/1.1 204 No Content\r\n\r\n".to_owned()
    } else {
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned()
    }
}

/// One request; its body has a length.
fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let (first, headers) = lines.split_first()?;
    let headers = headers.iter().filter_map(|line| line.split_once(": "));
    let headers: HashMap<_, _> =
        headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let length = headers.get("content-length").and_then(|length| length.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    let request = first.strip_suffix(" HTTP/1.1")?.to_owned();
    Some(Asked { request, headers, body })
}
