//! The flags of `grpc-proxy start`.

use crate::command::{Command, Kind, flag};

pub(crate) const COMMAND: Command = Command {
    name: "grpc-proxy",
    short: "start the grpc proxy",
    flags: &[
        flag(
            "advertise-client-url",
            Kind::Text,
            "127.0.0.1:23790",
            "advertise address to register (must be reachable by client)",
        ),
        flag("auto-tls", Kind::Switch, "", "proxy TLS using generated certificates"),
        flag(
            "cacert",
            Kind::Text,
            "",
            "verify certificates of TLS-enabled secure etcd servers using this CA bundle",
        ),
        flag(
            "cert",
            Kind::Text,
            "",
            "identify secure connections with etcd servers using this TLS certificate file",
        ),
        flag(
            "cert-file",
            Kind::Text,
            "",
            "identify secure connections to the proxy using this TLS certificate file",
        ),
        flag("client-crl-file", Kind::Text, "", "proxy client certificate revocation list file."),
        flag("data-dir", Kind::Text, "default.proxy", "Data directory for persistent data"),
        flag("debug", Kind::Switch, "", "Enable debug-level logging for grpc-proxy."),
        flag(
            "dial-keepalive-time",
            Kind::Duration,
            "",
            "keepalive time for client(grpc-proxy) connections (default 0, disable).",
        ),
        flag(
            "dial-keepalive-timeout",
            Kind::Duration,
            "20s",
            "keepalive timeout for client(grpc-proxy) connections (default 20s).",
        ),
        flag(
            "discovery-srv",
            Kind::Text,
            "",
            "domain name to query for SRV records describing cluster endpoints",
        ),
        flag(
            "discovery-srv-name",
            Kind::Text,
            "",
            "service name to query when using DNS discovery",
        ),
        flag(
            "enable-pprof",
            Kind::Switch,
            "",
            "Enable runtime profiling data via HTTP server. Address is at client URL + \
             \"/debug/pprof/\"",
        ),
        flag("endpoints", Kind::List, "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
        flag(
            "endpoints-auto-sync-interval",
            Kind::Duration,
            "",
            "etcd endpoints auto sync interval (disabled by default)",
        ),
        flag(
            "experimental-enable-grpc-logging",
            Kind::Switch,
            "",
            "logging all grpc requests and responses",
        ),
        flag(
            "experimental-leasing-prefix",
            Kind::Text,
            "",
            "leasing metadata prefix for disconnected linearized reads.",
        ),
        flag(
            "experimental-serializable-ordering",
            Kind::Switch,
            "",
            "Ensure serializable reads have monotonically increasing store revisions across \
             endpoints.",
        ),
        flag(
            "grpc-keepalive-interval",
            Kind::Duration,
            "2h0m0s",
            "Frequency duration of server-to-client ping to check if a connection is alive (0 \
             to disable).",
        ),
        flag(
            "grpc-keepalive-min-time",
            Kind::Duration,
            "5s",
            "Minimum interval duration that a client should wait before pinging proxy.",
        ),
        flag(
            "grpc-keepalive-timeout",
            Kind::Duration,
            "20s",
            "Additional duration of wait before closing a non-responsive connection (0 to \
             disable).",
        ),
        flag("insecure-discovery", Kind::Switch, "", "accept insecure SRV records"),
        flag(
            "insecure-skip-tls-verify",
            Kind::Switch,
            "",
            "skip authentication of etcd server TLS certificates (CAUTION: this option should \
             be enabled only for testing purposes)",
        ),
        flag(
            "key",
            Kind::Text,
            "",
            "identify secure connections with etcd servers using this TLS key file",
        ),
        flag(
            "key-file",
            Kind::Text,
            "",
            "identify secure connections to the proxy using this TLS key file",
        ),
        flag("listen-addr", Kind::Text, "127.0.0.1:23790", "listen address"),
        flag(
            "listen-cipher-suites",
            Kind::List,
            "",
            "Comma-separated list of supported TLS cipher suites between client/proxy (empty \
             will be auto-populated by Go).",
        ),
        flag(
            "max-concurrent-streams",
            Kind::Uint(32),
            "4294967295",
            "Maximum concurrent streams that each client can open at a time.",
        ),
        flag(
            "max-recv-bytes",
            Kind::Int,
            "2147483647",
            "message receive limits in bytes (default value is math.MaxInt32)",
        ),
        flag(
            "max-send-bytes",
            Kind::Int,
            "1572864",
            "message send limits in bytes (default value is 1.5 MiB)",
        ),
        flag(
            "metrics-addr",
            Kind::Text,
            "",
            "listen for endpoint /metrics requests on an additional interface",
        ),
        flag("namespace", Kind::Text, "", "string to prefix to all keys for namespacing requests"),
        flag(
            "permit-without-stream",
            Kind::Switch,
            "",
            "Enable client(grpc-proxy) to send keepalive pings even with no active RPCs.",
        ),
        flag(
            "resolver-prefix",
            Kind::Text,
            "",
            "prefix to use for registering proxy (must be shared with other grpc-proxy members)",
        ),
        flag(
            "resolver-ttl",
            Kind::Int,
            "",
            "specify TTL, in seconds, when registering proxy endpoints",
        ),
        flag(
            "self-signed-cert-validity",
            Kind::Uint(64),
            "1",
            "The validity period of the proxy certificates, unit is year",
        ),
        flag(
            "tls-max-version",
            Kind::Text,
            "",
            "Maximum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3 \
             (empty defers to Go).",
        ),
        flag(
            "tls-min-version",
            Kind::Text,
            "TLS1.2",
            "Minimum TLS version supported by grpc proxy. Possible values: TLS1.2, TLS1.3.",
        ),
        flag(
            "trusted-ca-file",
            Kind::Text,
            "",
            "verify certificates of TLS-enabled secure proxy using this CA bundle",
        ),
    ],
};
