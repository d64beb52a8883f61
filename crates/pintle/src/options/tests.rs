use std::collections::BTreeSet;

use super::arguments::{Parsed, parse};
use super::environment::{self, Notice, Refused};
use super::{FileKey, Group, Kind, Settings, Source, TABLE, Value, file, find, help};

/// Every option of 3.7.1 with its default, as its documentation has them.
const KNOWN: &str = include_str!("known_options.txt");
/// What operators are told, one row each: `| `--name` | verdict | how |`.
const COMPAT: &str = include_str!("../../../../COMPAT.md");

fn arguments(line: &[&str]) -> Vec<String> {
    line.iter().map(|&word| word.to_owned()).collect()
}

fn settings(line: &[&str]) -> Settings {
    match parse(&arguments(line)) {
        Parsed::Settings(settings, rest) if rest.is_empty() => *settings,
        other => panic!("{line:?} gave {other:?}"),
    }
}

fn wrong(line: &[&str]) -> String {
    match parse(&arguments(line)) {
        Parsed::Wrong(error) => error,
        other => panic!("{line:?} gave {other:?}"),
    }
}

#[test]
fn every_option_of_etcd_is_a_row_with_its_default() {
    let mut seen = BTreeSet::new();
    for line in KNOWN.lines().filter(|line| !line.starts_with('#')) {
        let (name, default) = line.split_once(' ').unwrap_or((line, ""));
        let row = find(name).unwrap_or_else(|| panic!("no row for {name}"));
        assert_eq!(row.default, default, "{name}");
        seen.insert(name);
    }
    let theirs = TABLE.iter().filter(|row| row.group != Group::Own);
    let extra: Vec<_> = theirs.map(|row| row.name).filter(|name| !seen.contains(name)).collect();
    assert!(extra.is_empty(), "rows that etcd does not have: {extra:?}");
}

#[test]
fn compat_says_of_every_option_how_it_is() {
    let mut told = std::collections::BTreeMap::new();
    for line in COMPAT.lines() {
        let Some((name, rest)) = line.strip_prefix("| `--").and_then(|it| it.split_once("` | "))
        else {
            continue;
        };
        let (verdict, _how) = rest.split_once(" |").expect("has a verdict");
        assert!(["same", "differs", "own"].contains(&verdict), "{line}");
        assert!(told.insert(name, verdict).is_none(), "{name} stands there twice");
    }
    for row in TABLE {
        let verdict = told.remove(row.name).unwrap_or_else(|| panic!("no row for {}", row.name));
        assert_eq!(verdict == "own", row.group == Group::Own, "{}", row.name);
        assert_eq!(row.name.starts_with("experimental-"), row.group == Group::Own, "{}", row.name);
    }
    assert!(told.is_empty(), "no options of etcd: {told:?}");
}

#[test]
fn rows_agree_with_themselves() {
    let mut names = BTreeSet::new();
    let mut variables = BTreeSet::new();
    let mut keys = BTreeSet::new();
    for row in TABLE {
        assert!(names.insert(row.name), "{} twice", row.name);
        assert!(variables.insert(row.variable()), "{} twice", row.variable());
        let key = match &row.file {
            FileKey::Same | FileKey::Joined => row.name.to_owned(),
            FileKey::At(path) => path.join("."),
            FileKey::None => format!("none for {}", row.name),
        };
        assert!(keys.insert(key), "the key of {} twice", row.name);
        // Reads its default, and reading it again changes nothing.
        let value = row.default_value();
        let given = matches!(row.kind, Kind::Gates | Kind::SomeOf(_)) || row.default.is_empty();
        assert!(given || row.kind.read(row.default, &value) == Ok(value), "{}", row.name);
        assert!(row.help().all(|line| line.len() <= 84), "help of {}", row.name);
        assert!(
            row.help().last().is_some_and(|line| line.ends_with(['.', ':'])),
            "help of {}",
            row.name
        );
    }
}

#[test]
fn variables_follow_from_names() {
    let variable = |name| find(name).expect("is a row").variable();
    assert_eq!(variable("listen-peer-urls"), "ETCD_LISTEN_PEER_URLS");
    assert_eq!(variable("feature-gates"), "ETCD_FEATURE_GATES");
    assert_eq!(variable("name"), "ETCD_NAME");
    assert_eq!(variable("cluster-active-size"), "ETCD_CLUSTER_ACTIVE_SIZE");
}

#[test]
fn help_lists_every_option() {
    let text = help::flags();
    for row in TABLE {
        let listed = text.contains(&format!("  --{} '{}'\n", row.name, row.default));
        assert_eq!(listed, row.group != Group::Hidden, "{}", row.name);
    }
    assert!(text.contains("    FastLeaseKeepAlive=true|false (BETA - default=true)\n"));
}

#[test]
fn flags_take_gos_forms() {
    let all = settings(&[
        "-name",
        "a",
        "--data-dir=/x=y",
        "--pre-vote=false",
        "-enable-pprof",
        "--max-wals",
        "0x10",
        "--heartbeat-interval=1_000",
        "--name=b",
        "--quota-backend-bytes=-1",
        "--v",
        "-vv=3",
        "--grpc-keepalive-timeout",
        "1h1.5s",
        "--wal-dir",
        "-dashes-are-values",
    ]);
    assert_eq!(all.text("name"), "b");
    assert_eq!(all.text("data-dir"), "/x=y");
    assert_eq!(all.text("wal-dir"), "-dashes-are-values");
    assert!(!all.flag("pre-vote") && all.flag("enable-pprof"));
    assert_eq!((all.uint("max-wals"), all.uint("heartbeat-interval")), (16, 1000));
    assert_eq!(all.int("quota-backend-bytes"), -1);
    assert_eq!(all.duration("grpc-keepalive-timeout").to_string(), "1h0m1.5s");
    assert_eq!(all.source("name"), Source::Flag);
    assert_eq!(all.source("metrics"), Source::Default);
}

#[test]
fn lists_are_sorted_where_etcd_sorts_them() {
    let all = settings(&[
        "--listen-client-urls=http://127.0.0.1:2,http://127.0.0.1:1,http://127.0.0.1:2",
        "--log-outputs=stdout,stderr,stdout",
        "--cipher-suites=b,a,b",
        "--cors=http://b:1,http://a:1",
        "--advertise-client-urls=",
    ]);
    let urls: Vec<_> = all.urls("listen-client-urls").iter().map(net::Url::to_string).collect();
    assert_eq!(urls, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    assert_eq!(all.list("log-outputs"), ["stderr", "stdout"]);
    assert_eq!(all.list("cipher-suites"), ["b", "a", "b"]);
    assert_eq!(all.list("cors"), ["http://a:1", "http://b:1"]);
    // An empty list of URLs leaves what there is.
    assert_eq!(all.urls("advertise-client-urls").len(), 1);
}

#[test]
fn flags_end_where_go_ends_them() {
    let rest = |line: &[&str]| match parse(&arguments(line)) {
        Parsed::Settings(_, rest) => rest,
        other => panic!("{other:?}"),
    };
    assert_eq!(rest(&["--name=a", "b", "--nonsense"]), ["b", "--nonsense"]);
    assert_eq!(rest(&["--", "--name"]), ["--name"]);
    assert_eq!(rest(&["-"]), ["-"]);
    // A switch takes no word after it.
    assert_eq!(rest(&["--pre-vote", "false"]), ["false"]);
    assert!(matches!(parse(&arguments(&["--name=a", "-h"])), Parsed::Help));
    assert!(matches!(parse(&arguments(&["--help=x"])), Parsed::Help));
}

#[test]
fn mistakes_have_the_texts_of_gos_flag_package() {
    let cases: &[(&[&str], &str)] = &[
        (&["--foo"], "flag provided but not defined: -foo"),
        (&["-foo=1"], "flag provided but not defined: -foo"),
        (&["--discovery", "x"], "flag provided but not defined: -discovery"),
        (&["--name"], "flag needs an argument: -name"),
        (&["---x"], "bad flag syntax: ---x"),
        (&["-=x"], "bad flag syntax: -=x"),
        (&["--=x"], "bad flag syntax: --=x"),
        (&["--pre-vote=maybe"], "invalid boolean value \"maybe\" for -pre-vote: parse error"),
        (
            &["--heartbeat-interval=x"],
            "invalid value \"x\" for flag -heartbeat-interval: parse error",
        ),
        (&["--max-wals=-1"], "invalid value \"-1\" for flag -max-wals: parse error"),
        (
            &["--snapshot-count=99999999999999999999"],
            "invalid value \"99999999999999999999\" for flag -snapshot-count: value out of range",
        ),
        (
            &["--max-concurrent-streams=99999999999"],
            "invalid value \"99999999999\" for flag -max-concurrent-streams: \
             strconv.ParseUint: parsing \"99999999999\": value out of range",
        ),
        (
            &["--backend-batch-interval=5"],
            "invalid value \"5\" for flag -backend-batch-interval: parse error",
        ),
        (
            &["--v2-deprecation=not-yet"],
            "invalid value \"not-yet\" for flag -v2-deprecation: invalid value \"not-yet\"",
        ),
        (
            &["--initial-cluster-state=x"],
            "invalid value \"x\" for flag -initial-cluster-state: invalid value",
        ),
        (
            &["--listen-client-urls=127.0.0.1:2379"],
            "invalid value \"127.0.0.1:2379\" for flag -listen-client-urls: parse \
             \"127.0.0.1:2379\": first path segment in URL cannot contain colon",
        ),
        (
            &["--cors="],
            "invalid value \"\" for flag -cors: URL scheme must be http, https, unix, or unixs: ",
        ),
        (
            &["--feature-gates=X=true"],
            "invalid value \"X=true\" for flag -feature-gates: unrecognized feature gate: X",
        ),
    ];
    for (line, text) in cases {
        assert_eq!(wrong(line), *text);
    }
}

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn variables_set_what_no_flag_set() {
    let mut all = settings(&["--metrics=extensive"]);
    let given = variables(&[
        ("PATH", "/bin"),
        ("ETCD_WAL_DIR", "w"),
        ("ETCD_VERSION", "3.7"),
        ("ETCD_NAME", "a"),
        ("ETCD_FOO", "1"),
        ("ETCD_DATA_DIR", ""),
    ]);
    let (notices, outcome) = environment::apply(&mut all, &given);
    assert_eq!(outcome, Ok(()));
    assert_eq!((all.text("name"), all.text("wal-dir")), ("a".to_owned(), "w".to_owned()));
    assert_eq!(all.source("name"), Source::Environment);
    let used = |name: &str, value: &str| Notice::Used { name: name.into(), value: value.into() };
    assert_eq!(
        notices,
        [
            Notice::Special { key: "ETCD_VERSION".into(), value: "3.7".into() },
            used("ETCD_NAME", "a"),
            used("ETCD_WAL_DIR", "w"),
            Notice::Unknown("ETCD_FOO=1".into()),
            Notice::Unknown("ETCD_DATA_DIR=".into()),
        ]
    );
}

#[test]
fn a_variable_beside_its_flag_is_refused() {
    for value in ["a", ""] {
        let mut all = settings(&["--name=b"]);
        let (_, outcome) = environment::apply(&mut all, &variables(&[("ETCD_NAME", value)]));
        assert_eq!(outcome, Err(Refused::Conflict("ETCD_NAME".into())));
    }
}

#[test]
fn a_variable_that_does_not_read_is_refused() {
    let mut all = settings(&[]);
    let given = variables(&[("ETCD_MAX_WALS", "x"), ("ETCD_NAME", "a")]);
    let (_, outcome) = environment::apply(&mut all, &given);
    let text = "invalid value \"x\" for ETCD_MAX_WALS: parse error";
    assert_eq!(outcome, Err(Refused::Value(text.into())));
}

fn from_file(text: &str) -> Settings {
    file::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_file_sets_every_kind_of_option() {
    let all = from_file(
        "name: '123'\n\
         data-dir: /var/lib/etcd\n\
         snapshot-count: 1000\n\
         grpc-keepalive-timeout: 600000000000\n\
         listen-client-urls: http://127.0.0.1:2, http://127.0.0.1:1\n\
         log-outputs: [stderr, stdout]\n\
         host-whitelist: b,a\n\
         cors: '*'\n\
         Pre-Vote: off\n\
         socket-options:\n  reuse-port: true\n\
         client-transport-security:\n  cert-file: c\n  allowed-hostname: [h]\n  \
         allowed-cn: [me]\n  \
         skip-client-san-verification: true\n\
         peer-transport-security:\n  cert-file: p\n  allowed-cn: [cn]\n\
         discovery-config:\n  token: t\n  client:\n    endpoints: [e]\n    dial-timeout: 5\n    \
         secure:\n      cert: dc\n\
         feature-gates: LeaseCheckpoint=true\n\
         auto-compaction-retention: '1'\n\
         max-wals: null\n\
         proxy: 'off'\n\
         experimental-anything: 3\n\
         self-signed-cert-validity: 0\n\
         initial-cluster-state: ''\n",
    );
    assert_eq!(all.text("name"), "123");
    assert_eq!((all.uint("snapshot-count"), all.uint("max-wals")), (1000, 5));
    assert_eq!(all.duration("grpc-keepalive-timeout").to_string(), "10m0s");
    let urls: Vec<_> = all.urls("listen-client-urls").iter().map(net::Url::to_string).collect();
    assert_eq!(urls, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    assert_eq!(all.list("log-outputs"), ["stderr", "stdout"]);
    assert_eq!(all.list("host-whitelist"), ["a", "b"]);
    assert!(!all.flag("pre-vote") && all.flag("socket-reuse-port"));
    assert_eq!((all.text("cert-file"), all.text("peer-cert-file")), ("c".into(), "p".into()));
    assert_eq!(all.list("client-cert-allowed-hostname"), ["h"]);
    assert_eq!(all.client_certs.allowed_cns, ["me"]);
    assert!(all.client_certs.skip_san);
    assert_eq!(all.list("peer-cert-allowed-cn"), ["cn"]);
    assert_eq!(
        (all.text("discovery-token"), all.text("discovery-cert")),
        ("t".into(), "dc".into())
    );
    assert_eq!(all.list("discovery-endpoints"), ["e"]);
    assert_eq!(all.duration("discovery-dial-timeout").0, 5);
    assert!(all.gates("feature-gates").enabled("LeaseCheckpoint"));
    assert_eq!(all.text("auto-compaction-retention"), "1");
    assert_eq!(all.uint("self-signed-cert-validity"), 1);
    assert_eq!(all.text("initial-cluster-state"), "new");
    assert_eq!(all.source("name"), Source::File);
}

/// A config file with all keys of the one that comes with etcd.
const SAMPLE: &str = include_str!("../../../../docs/pintle.conf.yml");

/// Those keys, with the option that each is for, and a value that is not the default, as a file and
/// as a flag have it.
const SAMPLE_KEYS: &[(&str, &str, &str, &str)] = &[
    ("name", "name", "a", "a"),
    ("data-dir", "data-dir", "/d", "/d"),
    ("wal-dir", "wal-dir", "/w", "/w"),
    ("snapshot-count", "snapshot-count", "7", "7"),
    ("heartbeat-interval", "heartbeat-interval", "50", "50"),
    ("election-timeout", "election-timeout", "500", "500"),
    ("quota-backend-bytes", "quota-backend-bytes", "-1", "-1"),
    ("listen-peer-urls", "listen-peer-urls", "http://127.0.0.1:1", "http://127.0.0.1:1"),
    ("listen-client-urls", "listen-client-urls", "http://127.0.0.1:2", "http://127.0.0.1:2"),
    ("max-snapshots", "max-snapshots", "3", "3"),
    ("max-wals", "max-wals", "0", "0"),
    ("cors", "cors", "http://a:1", "http://a:1"),
    ("initial-advertise-peer-urls", "initial-advertise-peer-urls", "http://m:1", "http://m:1"),
    ("advertise-client-urls", "advertise-client-urls", "http://m:2", "http://m:2"),
    ("discovery-srv", "discovery-srv", "example.com", "example.com"),
    ("initial-cluster", "initial-cluster", "a=http://m:1", "a=http://m:1"),
    ("initial-cluster-token", "initial-cluster-token", "t", "t"),
    ("initial-cluster-state", "initial-cluster-state", "existing", "existing"),
    ("strict-reconfig-check", "strict-reconfig-check", "false", "false"),
    ("enable-pprof", "enable-pprof", "true", "true"),
    ("client-transport-security.cert-file", "cert-file", "/c", "/c"),
    ("client-transport-security.key-file", "key-file", "/k", "/k"),
    ("client-transport-security.client-cert-auth", "client-cert-auth", "true", "true"),
    ("client-transport-security.trusted-ca-file", "trusted-ca-file", "/ca", "/ca"),
    ("client-transport-security.auto-tls", "auto-tls", "true", "true"),
    ("peer-transport-security.cert-file", "peer-cert-file", "/pc", "/pc"),
    ("peer-transport-security.key-file", "peer-key-file", "/pk", "/pk"),
    ("peer-transport-security.client-cert-auth", "peer-client-cert-auth", "true", "true"),
    ("peer-transport-security.trusted-ca-file", "peer-trusted-ca-file", "/pca", "/pca"),
    ("peer-transport-security.auto-tls", "peer-auto-tls", "true", "true"),
    ("peer-transport-security.allowed-cn", "peer-cert-allowed-cn", "[cn]", "cn"),
    ("peer-transport-security.allowed-hostname", "peer-cert-allowed-hostname", "[h]", "h"),
    ("self-signed-cert-validity", "self-signed-cert-validity", "9", "9"),
    ("log-level", "log-level", "debug", "debug"),
    ("logger", "logger", "zap", "zap"),
    ("log-outputs", "log-outputs", "[stdout]", "stdout"),
    ("force-new-cluster", "force-new-cluster", "true", "true"),
    ("auto-compaction-mode", "auto-compaction-mode", "revision", "revision"),
    ("auto-compaction-retention", "auto-compaction-retention", "'5'", "5"),
    ("cipher-suites", "cipher-suites", "[A, B]", "A,B"),
    ("tls-min-version", "tls-min-version", "TLS1.3", "TLS1.3"),
    ("tls-max-version", "tls-max-version", "TLS1.3", "TLS1.3"),
];

/// Those of earlier versions, which neither etcd 3.7 nor this looks at.
const SAMPLE_KEYS_OF_OLD: [&str; 9] = [
    "discovery",
    "discovery-fallback",
    "discovery-proxy",
    "proxy",
    "proxy-dial-timeout",
    "proxy-failure-wait",
    "proxy-read-timeout",
    "proxy-refresh-interval",
    "proxy-write-timeout",
];

#[test]
fn every_key_of_the_sample_file_means_what_its_flag_means() {
    for (key, option, in_file, in_flag) in SAMPLE_KEYS {
        let text = match key.split_once('.') {
            Some((object, key)) => format!("{object}:\n  {key}: {in_file}\n"),
            None => format!("{key}: {in_file}\n"),
        };
        let file = from_file(&text);
        let flag = settings(&[&format!("--{option}={in_flag}")]);
        assert_eq!(file.value(option), flag.value(option), "{key}");
        assert_eq!(file.source(option), Source::File, "{key}");
        // The logger has one value only.
        let changed: Vec<_> = file.changed().map(|row| row.name).collect();
        assert!(changed == [*option] || *option == "logger", "{key}: {changed:?}");
    }
    for key in SAMPLE_KEYS_OF_OLD {
        assert_eq!(from_file(&format!("{key}: 1\n")).changed().count(), 0, "{key}");
    }
}

#[test]
fn the_sample_file_has_those_keys_and_starts_a_member() {
    let document: serde_json::Value = serde_saphyr::from_str(SAMPLE).expect("is YAML");
    let mut keys = BTreeSet::new();
    for (key, value) in document.as_object().expect("is an object") {
        match value.as_object() {
            Some(object) => keys.extend(object.keys().map(|inner| format!("{key}.{inner}"))),
            None => _ = keys.insert(key.clone()),
        }
    }
    let known = SAMPLE_KEYS.iter().map(|(key, ..)| *key).chain(SAMPLE_KEYS_OF_OLD);
    assert_eq!(keys, known.map(str::to_owned).collect());
    let sample = from_file(SAMPLE);
    let changed: BTreeSet<_> = sample.changed().map(|row| row.name).collect();
    let expected = [
        "auto-compaction-retention",
        "cipher-suites",
        "enable-pprof",
        "log-level",
        "log-outputs",
        "strict-reconfig-check",
        "tls-max-version",
    ];
    assert_eq!(changed, expected.into());
    assert_eq!(crate::config::check::check(&sample).problems, [""; 0]);
}

#[test]
fn json_empty_files_and_lists_are_files_too() {
    assert_eq!(from_file("{\"name\": \"a\", \"pre-vote\": false}").text("name"), "a");
    for text in ["", "# nothing\n", "---\n", "name:\n"] {
        assert_eq!(from_file(text).text("name"), "default", "{text}");
    }
    assert_eq!(from_file("name: a\nname: b\n").text("name"), "b");
    // The first of several documents counts.
    assert_eq!(from_file("name: a\n---\nname: b\n").text("name"), "a");
    assert_eq!(from_file("max-wals: 010\nsnapshot-count: 1e4\n").uint("max-wals"), 8);
}

#[test]
fn files_of_the_wrong_kind_are_refused_in_etcds_words() {
    let head = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal";
    let cases = [
        (
            "heartbeat-interval: x",
            "string into Go struct field configYAML.Config.heartbeat-interval of type uint",
        ),
        (
            "grpc-keepalive-timeout: 10m",
            "string into Go struct field configYAML.Config.grpc-keepalive-timeout of type time.Duration",
        ),
        ("name: [a]", "array into Go struct field configYAML.Config.name of type string"),
        (
            "log-outputs: stderr",
            "string into Go struct field configYAML.Config.log-outputs of type []string",
        ),
        ("pre-vote: 'on'", "string into Go struct field configYAML.Config.pre-vote of type bool"),
        ("name: 3", "number into Go struct field configYAML.Config.name of type string"),
        ("- a", "array into Go value of type embed.configYAML"),
        (
            "listen-peer-urls: [a]",
            "array into Go struct field configYAML.configJSON.listen-peer-urls of type string",
        ),
        ("pre-vote: maybe", "string into Go struct field configYAML.Config.pre-vote of type bool"),
        ("max-wals: -1", "number -1 into Go struct field configYAML.Config.max-wals of type uint"),
        (
            "max-wals: 1.5",
            "number 1.5 into Go struct field configYAML.Config.max-wals of type uint",
        ),
        (
            "client-transport-security:\n  cert-file: [1]",
            "array into Go struct field securityConfig.configJSON.client-transport-security.cert-file of type \
             string",
        ),
        (
            "peer-transport-security: 3",
            "number into Go struct field configYAML.configJSON.peer-transport-security of type \
             embed.securityConfig",
        ),
    ];
    for (text, tail) in cases {
        let error = file::parse(text).expect_err(text).to_string();
        assert_eq!(error, format!("{head} {tail}"));
    }
    let error = |text: &str| file::parse(text).expect_err(text).to_string();
    assert!(error("a: b: c").starts_with("error converting YAML to JSON: yaml: "));
    assert_eq!(error("feature-gates: X=true"), "unrecognized feature gate: X");
    assert_eq!(
        error("listen-peer-urls: 127.0.0.1:1"),
        "unexpected error setting up listen-peer-urls: parse \"127.0.0.1:1\": first path segment \
         in URL cannot contain colon"
    );
    assert!(
        error("advertise-client-urls: x://y")
            .starts_with("unexpected error setting up advertise-peer-urls: URL scheme must be")
    );
}

#[test]
fn a_hostile_file_is_refused_and_not_obeyed() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\n\
                c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\n\
                e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
                g: [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    assert!(file::parse(bomb).is_err());
    assert!(file::parse(&"[".repeat(100_000)).is_err());
}

#[test]
fn changed_rows_are_those_that_differ_from_their_default() {
    let all = settings(&["--name=default", "--metrics=extensive", "--auto-tls"]);
    let changed: Vec<_> = all.changed().map(|row| row.name).collect();
    assert_eq!(changed, ["auto-tls", "metrics"]);
    assert!(all.is_given("name"));
    assert_eq!(*all.value("vv"), Value::Text(String::new()));
}
