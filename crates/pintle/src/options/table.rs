//! A table of data: every option that etcd 3.7.1 knows, and the few that are ours.

use super::{FileKey, Group, Kind, Row};

const TEXT: Kind = Kind::Text;
const BOOL: Kind = Kind::Bool;
const UINT: Kind = Kind::Uint(64);
const UINT32: Kind = Kind::Uint(32);
const INT: Kind = Kind::Int;
const DURATION: Kind = Kind::Duration;
const URLS: Kind = Kind::Urls;
const LIST: Kind = Kind::List;
const NAMES: Kind = Kind::Names;
const IGNORED: Kind = Kind::Ignored;
const CLIENT_TLS: &str = "client-transport-security";
const PEER_TLS: &str = "peer-transport-security";
const CLUSTER_STATE: Kind = Kind::OneOf(&["new", "existing"]);
const FALLBACK: Kind = Kind::OneOf(&["exit", "proxy"]);
const V2_STAGE: Kind =
    Kind::SomeOf(&["write-only", "write-only-skip-check", "write-only-drop-data", "gone"]);
const ROTATION: &str =
    r#"{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}"#;

/// All options.
pub(crate) const TABLE: &[Row] = &[
    member("name", TEXT, "default", "What people call this member."),
    member("data-dir", TEXT, "", "Directory of the member's files; NAME.etcd when empty."),
    member(
        "wal-dir",
        TEXT,
        "",
        "Directory of the log when it shall not lie in the data directory.",
    ),
    member(
        "snapshot-count",
        UINT,
        "10000",
        "Applied entries after which a raft snapshot is taken.",
    ),
    member("heartbeat-interval", UINT, "100", "Milliseconds between heartbeats of a leader."),
    member(
        "election-timeout",
        UINT,
        "1000",
        "Milliseconds without a leader until a member stands for election.",
    ),
    member(
        "initial-election-tick-advance",
        BOOL,
        "true",
        "Shorten the first wait for a leader after a start.",
    ),
    member(
        "listen-peer-urls",
        URLS,
        "http://localhost:2380",
        "URLs to listen on for other members.",
    ),
    member(
        "listen-client-urls",
        URLS,
        "http://localhost:2379",
        "URLs to listen on for clients: gRPC, and HTTP unless",
    )
    .more("listen-client-http-urls has taken that over."),
    member("listen-client-http-urls", URLS, "", "URLs to listen on for clients of HTTP alone."),
    member(
        "max-snapshots",
        UINT,
        "5",
        "Snapshot files to keep; 0 keeps all. etcd will drop this option in 3.8.",
    ),
    member("max-wals", UINT, "5", "Log files to keep; 0 keeps all."),
    member("memory-mlock", BOOL, "false", "Keep the member's memory from being swapped."),
    member(
        "quota-backend-bytes",
        INT,
        "0",
        "Bytes of live data at which the member accepts no more writes;",
    )
    .more("0 means 2 GiB, a negative number no limit."),
    member(
        "backend-bbolt-freelist-type",
        TEXT,
        "",
        "Kind of free list, array or map. Both are the same to pintle.",
    ),
    member(
        "backend-batch-interval",
        DURATION,
        "0",
        "Longest time between commits of the db file; 0 means 100ms.",
    ),
    member(
        "backend-batch-limit",
        INT,
        "0",
        "Most operations between commits of the db file; 0 means 10000.",
    ),
    member("max-txn-ops", UINT, "128", "Most operations in a transaction."),
    member("max-request-bytes", UINT, "1572864", "Largest request in bytes."),
    member(
        "max-concurrent-streams",
        UINT32,
        "4294967295",
        "Most streams that a client may have open on a connection.",
    ),
    member(
        "grpc-keepalive-min-time",
        DURATION,
        "5s",
        "Shortest time that a client must leave between its pings.",
    ),
    member(
        "grpc-keepalive-interval",
        DURATION,
        "2h",
        "Time between the server's pings on a silent connection; 0 sends none.",
    ),
    member(
        "grpc-keepalive-timeout",
        DURATION,
        "20s",
        "Wait for a ping's answer before the connection is closed; 0 waits for ever.",
    ),
    member("socket-reuse-port", BOOL, "false", "Let other processes listen on the same ports.")
        .at(&["socket-options", "reuse-port"]),
    member(
        "socket-reuse-address",
        BOOL,
        "false",
        "Listen although connections of an earlier process linger.",
    )
    .at(&["socket-options", "reuse-address"]),
    member("enable-grpc-gateway", BOOL, "true", "Serve the JSON form of the API under /v3/."),
    member(
        "raft-read-timeout",
        DURATION,
        "5s",
        "Time without data after which a member's connection is closed; at least 5s.",
    )
    .no_key(),
    member(
        "raft-write-timeout",
        DURATION,
        "5s",
        "Time that a write to a member may take; at least 5s.",
    )
    .no_key(),
    member(
        "feature-gates",
        Kind::Gates,
        "",
        "Features to switch, as Name=true,Other=false. Known are:",
    ),
    clustering(
        "initial-advertise-peer-urls",
        URLS,
        "http://localhost:2380",
        "URLs under which other members reach this one.",
    ),
    clustering(
        "initial-cluster",
        TEXT,
        "default=http://localhost:2380",
        "Members of a new cluster, as name=url,name=url.",
    ),
    clustering(
        "initial-cluster-state",
        CLUSTER_STATE,
        "new",
        "new to begin a cluster, existing to join one; of no interest once",
    )
    .more("the member has a log."),
    clustering(
        "initial-cluster-token",
        TEXT,
        "etcd-cluster",
        "Word that keeps the ids of clusters apart.",
    ),
    clustering(
        "advertise-client-urls",
        URLS,
        "http://localhost:2379",
        "URLs under which clients reach this member.",
    ),
    clustering(
        "discovery-token",
        TEXT,
        "",
        "Token of the cluster to find through a discovery service.",
    )
    .at(&["discovery-config", "token"]),
    clustering("discovery-endpoints", NAMES, "", "Addresses of the discovery service.").at(&[
        "discovery-config",
        "client",
        "endpoints",
    ]),
    clustering("discovery-dial-timeout", DURATION, "2s", "Discovery: limit for connecting.").at(&[
        "discovery-config",
        "client",
        "dial-timeout",
    ]),
    clustering("discovery-request-timeout", DURATION, "5s", "Discovery: limit for a request.")
        .at(&["discovery-config", "client", "request-timeout"]),
    clustering("discovery-keepalive-time", DURATION, "2s", "Discovery: time between pings.").at(&[
        "discovery-config",
        "client",
        "keepalive-time",
    ]),
    clustering(
        "discovery-keepalive-timeout",
        DURATION,
        "6s",
        "Discovery: wait for a ping's answer.",
    )
    .at(&["discovery-config", "client", "keepalive-timeout"]),
    clustering("discovery-insecure-transport", BOOL, "true", "Discovery: connect without TLS.")
        .at(&["discovery-config", "client", "secure", "insecure-transport"]),
    clustering(
        "discovery-insecure-skip-tls-verify",
        BOOL,
        "false",
        "Discovery: believe any certificate. For tests only.",
    )
    .at(&["discovery-config", "client", "secure", "insecure-skip-tls-verify"]),
    clustering("discovery-cert", TEXT, "", "Discovery: certificate to show.").at(&[
        "discovery-config",
        "client",
        "secure",
        "cert",
    ]),
    clustering("discovery-key", TEXT, "", "Discovery: key of that certificate.").at(&[
        "discovery-config",
        "client",
        "secure",
        "key",
    ]),
    clustering("discovery-cacert", TEXT, "", "Discovery: authorities to believe.").at(&[
        "discovery-config",
        "client",
        "secure",
        "cacert",
    ]),
    clustering("discovery-user", TEXT, "", "Discovery: user[:password].").at(&[
        "discovery-config",
        "client",
        "auth",
        "username",
    ]),
    clustering(
        "discovery-password",
        TEXT,
        "",
        "Discovery: password, when the user has none with it.",
    )
    .at(&["discovery-config", "client", "auth", "password"]),
    clustering(
        "discovery-fallback",
        FALLBACK,
        "exit",
        "What to do when discovery fails; exit is the only choice left.",
    )
    .no_key(),
    clustering("discovery-srv", TEXT, "", "DNS domain whose SRV records name the members."),
    clustering("discovery-srv-name", TEXT, "", "Suffix of the SRV records' service name."),
    clustering(
        "strict-reconfig-check",
        BOOL,
        "true",
        "Refuse changes of membership that would lose the quorum.",
    ),
    clustering(
        "pre-vote",
        BOOL,
        "true",
        "Ask for votes only when a vote could be won, so that a member that",
    )
    .more("was cut off does not disturb the others."),
    clustering(
        "auto-compaction-retention",
        TEXT,
        "0",
        "History that automatic compaction keeps; 0 switches it off.",
    ),
    clustering(
        "auto-compaction-mode",
        TEXT,
        "periodic",
        "Whether that is a time (periodic: hours, or a duration as 5m) or a",
    )
    .more("number of revisions (revision)."),
    clustering(
        "v2-deprecation",
        V2_STAGE,
        "write-only",
        "Taken and ignored, as in etcd: write-only, write-only-skip-check,",
    )
    .more("write-only-drop-data or gone."),
    security("cert-file", TEXT, "", "Certificate to show to clients.")
        .at(&[CLIENT_TLS, "cert-file"]),
    security("key-file", TEXT, "", "Key of that certificate.").at(&[CLIENT_TLS, "key-file"]),
    security("client-cert-auth", BOOL, "false", "Ask clients for certificates.")
        .at(&[CLIENT_TLS, "client-cert-auth"]),
    security(
        "client-cert-file",
        TEXT,
        "",
        "Certificate that the server shows as a client; cert-file when empty.",
    )
    .at(&[CLIENT_TLS, "client-cert-file"]),
    security("client-key-file", TEXT, "", "Key of that certificate.")
        .at(&[CLIENT_TLS, "client-key-file"]),
    security("client-crl-file", TEXT, "", "Revoked certificates of clients.").no_key(),
    security(
        "client-cert-allowed-hostname",
        LIST,
        "",
        "Host names that a client's certificate may bear.",
    )
    .at(&[CLIENT_TLS, "allowed-hostname"]),
    security("trusted-ca-file", TEXT, "", "Authorities whose client certificates count.")
        .at(&[CLIENT_TLS, "trusted-ca-file"]),
    security("auto-tls", BOOL, "false", "Make a certificate for clients.")
        .at(&[CLIENT_TLS, "auto-tls"]),
    security("peer-cert-file", TEXT, "", "Certificate to show to members.")
        .at(&[PEER_TLS, "cert-file"]),
    security("peer-key-file", TEXT, "", "Key of that certificate.").at(&[PEER_TLS, "key-file"]),
    security("peer-client-cert-auth", BOOL, "false", "Ask members for certificates.")
        .at(&[PEER_TLS, "client-cert-auth"]),
    security(
        "peer-client-cert-file",
        TEXT,
        "",
        "Certificate for connections to members; peer-cert-file when empty.",
    )
    .at(&[PEER_TLS, "client-cert-file"]),
    security("peer-client-key-file", TEXT, "", "Key of that certificate.")
        .at(&[PEER_TLS, "client-key-file"]),
    security("peer-trusted-ca-file", TEXT, "", "Authorities whose member certificates count.")
        .at(&[PEER_TLS, "trusted-ca-file"]),
    security(
        "peer-cert-allowed-cn",
        LIST,
        "",
        "Common names that a member's certificate may bear.",
    )
    .at(&[PEER_TLS, "allowed-cn"]),
    security(
        "peer-cert-allowed-hostname",
        LIST,
        "",
        "Host names that a member's certificate may bear.",
    )
    .at(&[PEER_TLS, "allowed-hostname"]),
    security("peer-auto-tls", BOOL, "false", "Make a certificate for members.")
        .at(&[PEER_TLS, "auto-tls"]),
    security("peer-crl-file", TEXT, "", "Revoked certificates of members.").no_key(),
    security(
        "peer-skip-client-san-verification",
        BOOL,
        "false",
        "Do not compare a member's address with its certificate.",
    )
    .at(&[PEER_TLS, "skip-client-san-verification"]),
    security(
        "self-signed-cert-validity",
        UINT,
        "1",
        "Years for which certificates made here hold.",
    ),
    security("cipher-suites", LIST, "", "Cipher suites to allow; empty allows the good ones."),
    security("tls-min-version", TEXT, "TLS1.2", "Oldest TLS version: TLS1.2 or TLS1.3."),
    security(
        "tls-max-version",
        TEXT,
        "",
        "Newest TLS version: TLS1.2 or TLS1.3; empty sets no bound.",
    ),
    security(
        "cors",
        Kind::Origins,
        "*",
        "Origins whose scripts may use the HTTP API; * means all.",
    ),
    security(
        "host-whitelist",
        NAMES,
        "*",
        "Host names under which plain HTTP is served; * means all.",
    )
    .joined(),
    auth("auth-token", TEXT, "simple", "Kind of token: simple, or jwt with its options."),
    auth("bcrypt-cost", UINT, "10", "Work that checking a password takes, from 4 to 31."),
    auth("auth-token-ttl", UINT, "300", "Seconds for which a simple token holds."),
    monitoring("enable-pprof", BOOL, "false", "Answer under /debug/pprof/; no profiles of Go."),
    monitoring(
        "metrics",
        TEXT,
        "basic",
        "basic, or extensive to add a histogram of the time that requests take.",
    ),
    monitoring("listen-metrics-urls", URLS, "", "More URLs to serve /metrics and /health on."),
    logging("logger", TEXT, "zap", "Form of the log; zap is the only one."),
    logging(
        "log-outputs",
        NAMES,
        "default",
        "Where the log goes: default, stderr, stdout or files.",
    ),
    logging(
        "log-level",
        TEXT,
        "info",
        "Least level to log: debug, info, warn, error, panic or fatal.",
    ),
    logging("log-format", TEXT, "json", "json or console."),
    logging(
        "enable-log-rotation",
        BOOL,
        "false",
        "Begin a new log file when the one output has grown.",
    ),
    logging(
        "log-rotation-config-json",
        TEXT,
        ROTATION,
        "When to begin and what to keep: maxsize in MB, maxage in days (0 for ever),",
    )
    .more("maxbackups (0 all), localtime for the names of old files, compress."),
    logging(
        "warning-unary-request-duration",
        DURATION,
        "300ms",
        "Time after which a request is logged as slow.",
    ),
    tracing("enable-distributed-tracing", BOOL, "false", "Send spans to a collector."),
    tracing("distributed-tracing-address", TEXT, "localhost:4317", "Address of the collector."),
    tracing(
        "distributed-tracing-service-name",
        TEXT,
        "etcd",
        "Name of the service, the same on all members.",
    ),
    tracing("distributed-tracing-instance-id", TEXT, "", "Name of this member, unlike all others."),
    tracing("distributed-tracing-sampling-rate", INT, "0", "Spans to send of each million."),
    features(
        "corrupt-check-time",
        DURATION,
        "0s",
        "Time between comparisons of the members' data; 0 makes none.",
    ),
    features(
        "compact-hash-check-time",
        DURATION,
        "1m",
        "Time between comparisons of the members' compaction hashes.",
    ),
    features(
        "compaction-batch-limit",
        INT,
        "0",
        "Most revisions that a step of compaction deletes; 0 means 1000.",
    ),
    features(
        "compaction-sleep-interval",
        DURATION,
        "0",
        "Pause between steps of compaction; 0 means 10ms.",
    ),
    features(
        "watch-progress-notify-interval",
        DURATION,
        "0",
        "Time between progress notices to watchers that asked for them; 0 means 10m.",
    ),
    features(
        "warning-apply-duration",
        DURATION,
        "100ms",
        "Time after which applying an entry is logged as slow.",
    ),
    features(
        "bootstrap-defrag-threshold-megabytes",
        UINT,
        "0",
        "Shrink the db file at start when that frees so many megabytes; 0 does not.",
    ),
    features("max-learners", INT, "1", "Most learners in the cluster."),
    features(
        "snapshot-catchup-entries",
        UINT,
        "5000",
        "Entries that stay in the log after a snapshot, for slow members.",
    ),
    features(
        "downgrade-check-time",
        DURATION,
        "5s",
        "Time between looks at the state of a downgrade.",
    ),
    dangerous(
        "force-new-cluster",
        BOOL,
        "false",
        "Make this member the only one of a new cluster.",
    ),
    dangerous(
        "unsafe-no-fsync",
        BOOL,
        "false",
        "Do not wait for the disk. Acknowledged writes will be lost.",
    ),
    own(
        "experimental-alarm-auto-disarm",
        BOOL,
        "false",
        "Take a NOSPACE alarm of this member back when a tenth of its quota is free again.",
    ),
    own("experimental-audit-log", TEXT, "", "File for a line about each call; none when empty."),
    own(
        "experimental-audit-log-methods",
        NAMES,
        "",
        "Calls to tell of there, as Put, etcdserverpb.KV or etcdserverpb.KV/Put;",
    )
    .more("all when empty."),
    own(
        "experimental-audit-log-prefixes",
        NAMES,
        "",
        "Prefixes of keys: only calls that touch some are told of; all when empty.",
    ),
    own(
        "experimental-audit-log-rotation-json",
        TEXT,
        ROTATION,
        "When to begin a new file and what to keep, as in log-rotation-config-json.",
    ),
    own(
        "experimental-go-metrics",
        BOOL,
        "false",
        "Show stand-ins for the metrics of Go's runtime.",
    ),
    own(
        "experimental-slow-request-log-duration",
        DURATION,
        "0s",
        "Log where the time went of requests that take longer; 0 logs none.",
    ),
    own(
        "experimental-value-memory-bytes",
        UINT,
        "1073741824",
        "Memory for newest values; others are read from the db file.",
    ),
    own("experimental-page-cache-bytes", UINT, "12582912", "Memory for pages of the db file."),
    own(
        "experimental-recent-events-bytes",
        UINT,
        "2097152",
        "Memory for recent events; watchers further behind read the db file.",
    ),
    hidden("config-file", TEXT, "", "Config file to read in place of all other options.").no_key(),
    hidden("version", BOOL, "false", "Print the version.").no_key(),
    old("cluster-active-size"),
    old("cluster-remove-delay"),
    old("cluster-sync-interval"),
    old("config"),
    old("force"),
    old("max-result-buffer"),
    old("max-retry-attempts"),
    old("peer-heartbeat-interval"),
    old("peer-election-timeout"),
    old("retry-interval"),
    old("snapshot"),
    old("v"),
    old("vv"),
    old("test.coverprofile"),
    old("test.outputdir"),
];

const fn member(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    row(Group::Member, name, kind, default, help)
}

const fn clustering(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Row {
    row(Group::Clustering, name, kind, default, help)
}

const fn security(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Row {
    row(Group::Security, name, kind, default, help)
}

const fn auth(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    row(Group::Auth, name, kind, default, help)
}

const fn monitoring(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Row {
    row(Group::Monitoring, name, kind, default, help)
}

const fn logging(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    row(Group::Logging, name, kind, default, help)
}

const fn tracing(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    row(Group::Tracing, name, kind, default, help)
}

const fn features(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Row {
    row(Group::Features, name, kind, default, help)
}

const fn dangerous(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Row {
    row(Group::Unsafe, name, kind, default, help)
}

/// An option that etcd does not have.
const fn own(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    row(Group::Own, name, kind, default, help)
}

const fn hidden(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Row {
    row(Group::Hidden, name, kind, default, help)
}

/// An option that etcd once had.
const fn old(name: &'static str) -> Row {
    hidden(name, IGNORED, "", "Old; taken and ignored.").no_key()
}

const fn row(
    group: Group,
    name: &'static str,
    kind: Kind,
    default: &'static str,
    help: &'static str,
) -> Row {
    let file = FileKey::Same;
    Row { name, kind, default, group, file, help: [help, ""] }
}

impl Row {
    /// A second line of help.
    const fn more(mut self, help: &'static str) -> Row {
        self.help[1] = help;
        self
    }

    const fn at(mut self, path: &'static [&'static str]) -> Row {
        self.file = FileKey::At(path);
        self
    }

    const fn joined(mut self) -> Row {
        self.file = FileKey::Joined;
        self
    }

    const fn no_key(mut self) -> Row {
        self.file = FileKey::None;
        self
    }
}
