//! The flags of `gateway start`.

use crate::command::{Command, Kind, flag};

pub(crate) const COMMAND: Command = Command {
    name: "gateway",
    short: "start the gateway",
    flags: &[
        flag("discovery-srv", Kind::Text, "", "DNS domain used to bootstrap initial cluster"),
        flag(
            "discovery-srv-name",
            Kind::Text,
            "",
            "service name to query when using DNS discovery",
        ),
        flag("endpoints", Kind::List, "127.0.0.1:2379", "comma separated etcd cluster endpoints"),
        flag("insecure-discovery", Kind::Switch, "", "accept insecure SRV records"),
        flag("listen-addr", Kind::Text, "127.0.0.1:23790", "listen address"),
        flag(
            "retry-delay",
            Kind::Duration,
            "1m0s",
            "duration of delay before retrying failed endpoints",
        ),
        flag(
            "trusted-ca-file",
            Kind::Text,
            "",
            "path to the client server TLS CA file for verifying the discovered endpoints when \
             discovery-srv is provided.",
        ),
    ],
};
