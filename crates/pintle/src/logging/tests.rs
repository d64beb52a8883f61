use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use env::{Clock, ManualClock};
use jiff::tz::{Offset, TimeZone};
use tracing_subscriber::layer::SubscriberExt;

use super::layer::{ZapLayer, caller};
use super::output::Outputs;
use super::rotation::{RotatingFile, Rotation};
use super::{Format, Level, LogConfig, Logger};
use crate::options::arguments::{Parsed, parse};
use crate::options::{Settings, file};

/// 2026-01-02T03:04:05.678901Z
const UNIX: Duration = Duration::from_micros(1_767_323_045_678_901);

struct Written {
    logger: Logger,
    clock: ManualClock,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Written {
    fn new(level: Level, format: Format, zone: TimeZone) -> Written {
        let clock = ManualClock::default();
        clock.advance(UNIX);
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let outputs = Outputs::memory(Arc::clone(&bytes));
        let logger = Logger::new(Arc::new(clock.clone()), level, format, outputs, zone);
        Written { logger, clock, bytes }
    }

    fn json() -> Written {
        Written::new(Level::Debug, Format::Json, TimeZone::UTC)
    }

    fn text(&self) -> String {
        let bytes = std::mem::take(&mut *self.bytes.lock().expect("nobody panicked"));
        String::from_utf8(bytes).expect("lines are UTF-8")
    }

    /// What was written, with the number of the source line made the same in all.
    fn lines(&self) -> Vec<String> {
        let unnumbered = |line: &str| match line.split_once("logging/tests.rs:") {
            Some((before, after)) => {
                let rest = after.trim_start_matches(|mark: char| mark.is_ascii_digit());
                format!("{before}logging/tests.rs:1{rest}")
            }
            None => line.to_owned(),
        };
        self.text().lines().map(unnumbered).collect()
    }

    fn traced(&self, run: impl FnOnce()) -> Vec<String> {
        let subscriber = tracing_subscriber::registry().with(ZapLayer::new(self.logger.clone()));
        tracing::subscriber::with_default(subscriber, run);
        self.lines()
    }
}

#[test]
fn a_line_is_zaps_to_the_byte() {
    let written = Written::json();
    written
        .logger
        .warn("took \"long\"\n")
        .text("key \u{1}\\", "t\tab")
        .list("urls", ["a", "b"])
        .list("none", [""; 0])
        .value("count", 3_u64)
        .value("on", true)
        .duration("took", Duration::from_millis(60_500))
        .error("disk on fire")
        .send();
    assert_eq!(
        written.lines(),
        ["{\"level\":\"warn\",\"ts\":\"2026-01-02T03:04:05.678901Z\",\
          \"caller\":\"logging/tests.rs:1\",\"msg\":\"took \\\"long\\\"\\n\",\
          \"key \\u0001\\\\\":\"t\\tab\",\"urls\":[\"a\",\"b\"],\"none\":[],\"count\":3,\
          \"on\":true,\"took\":\"1m0.5s\",\"error\":\"disk on fire\"}"]
    );
}

#[test]
fn the_console_form_has_columns() {
    let written = Written::new(Level::Info, Format::Console, TimeZone::fixed(Offset::MAX));
    written.logger.info("plain").send();
    written.logger.info("with fields").value("n", 1_u64).send();
    let lines = written.lines();
    assert_eq!(lines[0], "2026-01-03T05:04:04.678901+2559\tinfo\tlogging/tests.rs:1\tplain");
    assert!(lines[1].ends_with("\tinfo\tlogging/tests.rs:1\twith fields\t{\"n\":1}"));
}

#[test]
fn an_offset_has_a_sign_and_no_colon() {
    let zone = TimeZone::fixed(Offset::from_seconds(-(9 * 3600 + 30 * 60)).expect("is in range"));
    let written = Written::new(Level::Info, Format::Json, zone);
    written.logger.info("m").send();
    assert!(written.lines()[0].contains("\"ts\":\"2026-01-01T17:34:05.678901-0930\""));
}

#[test]
fn events_of_tracing_become_the_same_lines() {
    let written = Written::json();
    let urls = vec!["http://a:1".to_owned(), "quo\"te".to_owned()];
    let lines = written.traced(|| {
        let error = std::io::Error::other("no");
        let id = format_args!("{:x}", 255);
        tracing::info!("local-member-id" = %id, urls = ?urls, n = -3, "hello");
        tracing::error!(took = ?Duration::from_micros(8167), %error, f = 0.5, "failed {}", 1);
        tracing::info!(target: "raft", "became leader");
        tracing::warn!(none = ?Vec::<String>::new(), on = false, text = "[\"a\"]", odd = ?[1, 2]);
    });
    let head = |level: &str, logger: &str| {
        format!(
            "{{\"level\":\"{level}\",\"ts\":\"2026-01-02T03:04:05.678901Z\",{logger}\
             \"caller\":\"logging/tests.rs:1\",\"msg\":"
        )
    };
    let info = head("info", "");
    assert_eq!(
        lines,
        [
            format!(
                "{info}\"hello\",\"local-member-id\":\"ff\",\
                 \"urls\":[\"http://a:1\",\"quo\\\"te\"],\"n\":-3}}"
            ),
            format!(
                "{}\"failed 1\",\"took\":\"8.167ms\",\"error\":\"no\",\"f\":0.5}}",
                head("error", "")
            ),
            format!("{}\"became leader\"}}", head("info", "\"logger\":\"raft\",")),
            format!(
                "{}\"\",\"none\":[],\"on\":false,\"text\":\"[\\\"a\\\"]\",\"odd\":\"[1, 2]\"}}",
                head("warn", "")
            ),
        ]
    );
}

#[test]
fn what_is_below_the_level_or_chatter_is_not_written() {
    let written = Written::new(Level::Info, Format::Json, TimeZone::UTC);
    let lines = written.traced(|| {
        tracing::debug!("quiet");
        tracing::info!(target: "h2::codec", "chatter");
        tracing::warn!(target: "h2::codec", "trouble");
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("trouble") && !lines[0].contains("\"logger\""));
    let fatal = Written::new(Level::Fatal, Format::Json, TimeZone::UTC);
    fatal.logger.warn("quiet").send();
    fatal.logger.line(Level::Fatal, "the end").send();
    assert_eq!(fatal.lines().len(), 1);
}

#[test]
fn a_flood_is_sampled_and_a_new_second_begins_anew() {
    let written = Written::json();
    let flood = |times| {
        for _ in 0..times {
            written.logger.info("again").send();
        }
        written.lines().len()
    };
    assert_eq!(flood(100), 100);
    assert_eq!(flood(250), 2);
    written.logger.warn("again").send();
    assert_eq!(written.lines().len(), 1);
    written.clock.advance(Duration::from_secs(1));
    assert_eq!(flood(150), 100);
}

#[test]
fn callers_are_the_last_directory_and_the_file() {
    assert_eq!(caller("crates/node/src/boot.rs", 7), "node/boot.rs:7");
    assert_eq!(caller("crates/mvcc/src/watch/hub.rs", 7), "watch/hub.rs:7");
    assert_eq!(caller("/r/h2-0.4.20/src/codec/mod.rs", 1), "codec/mod.rs:1");
    assert_eq!(caller("main.rs", 1), "main.rs:1");
}

fn read(line: &[&str]) -> Result<LogConfig, String> {
    let line: Vec<_> = line.iter().map(|&word| word.to_owned()).collect();
    match parse(&line) {
        Parsed::Settings(settings, _) => LogConfig::read(&settings),
        other => panic!("{other:?}"),
    }
}

#[test]
fn log_options_are_refused_in_etcds_words() {
    let single =
        "--log-outputs requires a single file path when --log-rotate-config-json is defined";
    let cases: &[(&[&str], &str)] = &[
        (&["--logger=capnslog"], "--logger=capnslog is removed in v3.5"),
        (&["--logger=x"], "unknown logger option \"x\""),
        (&["--log-outputs=default,stderr"], "multi logoutput for \"default\" is not supported yet"),
        (&["--log-format=x"], "unknown log format: x, supported values json, console"),
        (&["--log-level=x"], "unrecognized level: \"x\""),
        (&["--enable-log-rotation"], single),
        (&["--enable-log-rotation", "--log-outputs=a,b"], single),
        (
            &["--log-outputs=systemd/journal,stderr"],
            "running with systemd/journal but other '--log-outputs' values ([\"stderr\" \
             \"systemd/journal\"]) are configured with 'default'; override 'default' value with \
             something else",
        ),
    ];
    for (line, text) in cases {
        assert_eq!(read(line).expect_err(text), *text);
    }
    let rotation = |json: &str| {
        let json = format!("--log-rotation-config-json={json}");
        read(&["--enable-log-rotation", "--log-outputs=a", &json])
    };
    let error = rotation("{").expect_err("no JSON");
    let text = "improperly formatted log rotation config: unexpected end of JSON input";
    assert_eq!(error, text);
    let error = rotation("{\"maxsize\": true}").expect_err("no number");
    assert_eq!(
        error,
        "invalid log rotation config: json: cannot unmarshal bool into Go struct field \
         logRotationConfig.Logger.maxsize of type int"
    );
    let good = rotation("{\"maxsize\": 3, \"maxbackups\": 2, \"filename\": \"x\"}").expect("reads");
    let rotation = good.rotation.expect("was asked for");
    assert_eq!((rotation.max_size_megabytes, rotation.max_backups), (3, 2));
}

#[test]
fn an_empty_list_of_outputs_is_the_default() {
    let settings = file::parse("log-outputs: []\n").expect("reads");
    assert_eq!(LogConfig::read(&settings).expect("is right").outputs, ["default"]);
    let default = LogConfig::read(&Settings::defaults()).expect("is right");
    assert_eq!((default.level, default.format), (Level::Info, Format::Json));
}

fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pintle-log-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("can be made");
    path
}

#[test]
fn a_file_is_appended_to_and_one_that_cannot_be_is_named() {
    let directory = directory("file");
    let path = directory.join("etcd.log");
    std::fs::write(&path, b"before\n").expect("writes");
    let written = Written::json();
    let name = path.display().to_string();
    let config = |outputs: &str| LogConfig {
        level: Level::Warn,
        format: Format::Json,
        outputs: vec![outputs.to_owned()],
        rotation: None,
    };
    written.logger.configure(&config(&name)).expect("opens");
    written.logger.info("too little").send();
    written.logger.warn("enough").send();
    let text = std::fs::read_to_string(&path).expect("reads");
    assert!(text.starts_with("before\n{\"level\":\"warn\"") && text.lines().count() == 2);
    let error = written.logger.configure(&config("")).expect_err("is no file");
    assert_eq!(error, "open sink \"\": open : no such file or directory");
    std::fs::remove_dir_all(directory).expect("can be removed");
}

fn names(directory: &PathBuf) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("lists");
    let mut names: Vec<_> = entries
        .map(|entry| entry.expect("is there").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_grown_file_is_put_aside_and_old_ones_go() {
    let directory = directory("rotation");
    let clock = ManualClock::default();
    clock.advance(UNIX);
    let rotation =
        Rotation { max_size_megabytes: 1, max_backups: 2, max_age_days: 3, ..Rotation::default() };
    let path = directory.join("etcd.log");
    let mut file = RotatingFile::new(&path, rotation, Arc::new(clock.clone()));
    std::fs::write(directory.join("etcd-2026-notes.log"), b"not ours").expect("writes");
    let half = vec![b'x'; 600 * 1024];
    let mut write = || file.write(&half).expect("writes");
    write();
    write();
    let first = "etcd-2026-01-02T03-04-05.678.log";
    assert_eq!(names(&directory), [first, "etcd-2026-notes.log", "etcd.log"]);
    clock.advance(Duration::from_secs(60));
    write();
    clock.advance(Duration::from_secs(60));
    write();
    // Two are kept, so the first is gone.
    assert_eq!(
        names(&directory)[..3],
        [
            "etcd-2026-01-02T03-05-05.678.log",
            "etcd-2026-01-02T03-06-05.678.log",
            "etcd-2026-notes.log"
        ]
    );
    clock.advance(Duration::from_secs(4 * 24 * 3600));
    write();
    // And those older than three days.
    assert_eq!(
        names(&directory),
        ["etcd-2026-01-06T03-06-05.678.log", "etcd-2026-notes.log", "etcd.log"]
    );
    let length = std::fs::metadata(&path).expect("is there").len();
    assert_eq!(length, half.len() as u64);
    assert_eq!(clock.now(), clock.unix());
    std::fs::remove_dir_all(directory).expect("can be removed");
}

#[test]
fn old_files_are_compressed_and_counted_all_the_same() {
    use std::io::Read as _;
    let directory = directory("compression");
    let clock = ManualClock::default();
    clock.advance(UNIX);
    let rotation =
        Rotation { max_size_megabytes: 1, max_backups: 2, compress: true, ..Rotation::default() };
    let path = directory.join("etcd.log");
    let half = vec![b'x'; 600 * 1024];
    for _ in 0..4 {
        // A new one each time: dropping it waits until what is old is compressed.
        let mut file = RotatingFile::new(&path, rotation.clone(), Arc::new(clock.clone()));
        file.write(&half).expect("writes");
        clock.advance(Duration::from_secs(60));
    }
    let second = "etcd-2026-01-02T03-06-05.678.log.gz";
    assert_eq!(names(&directory), [second, "etcd-2026-01-02T03-07-05.678.log.gz", "etcd.log"]);
    let mut plain = Vec::new();
    let compressed = std::fs::File::open(directory.join(second)).expect("opens");
    flate2::read::GzDecoder::new(compressed).read_to_end(&mut plain).expect("is gzip");
    assert_eq!(plain, half);
    std::fs::remove_dir_all(directory).expect("can be removed");
}
