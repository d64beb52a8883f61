//! How clients speak to members: plainly, or by TLS with certificates of one side or both.

use e2e::{Authority, Scratch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Plain,
    /// As that, by a gRPC proxy of the same program.
    Proxied,
    /// Members show certificates.
    Tls,
    /// Clients do so, too: theirs says that they are alice, who may be a user.
    MutualTls,
}

impl Transport {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Proxied, Self::Tls, Self::MutualTls];

    fn is_plain(self) -> bool {
        matches!(self, Self::Plain | Self::Proxied)
    }
}

/// A transport, with the certificates for it.
pub(crate) struct Wire {
    pub(crate) transport: Transport,
    authority: Authority,
    /// Where they are.
    _scratch: Scratch,
}

impl Wire {
    pub(crate) fn new(transport: Transport) -> Self {
        let scratch = Scratch::new("wire");
        let authority = Authority::new(scratch.path()).unwrap();
        authority.vouch("server", 10).unwrap();
        authority.vouch("alice", 11).unwrap();
        Self { transport, authority, _scratch: scratch }
    }

    /// What a member is told.
    pub(crate) fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        if !self.transport.is_plain() {
            flags.push(format!("--cert-file={}", self.file("server.crt")));
            flags.push(format!("--key-file={}", self.file("server.key")));
        }
        if self.transport == Transport::MutualTls {
            flags.push(format!("--trusted-ca-file={}", self.file("ca.crt")));
            flags.push("--client-cert-auth".to_owned());
        }
        flags
    }

    /// What etcdctl is told besides the endpoints.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if !self.transport.is_plain() {
            words.push(format!("--cacert={}", self.file("ca.crt")));
        }
        if self.transport == Transport::MutualTls {
            words.push(format!("--cert={}", self.file("alice.crt")));
            words.push(format!("--key={}", self.file("alice.key")));
        }
        words
    }

    /// A member's address as etcdctl is told it.
    pub(crate) fn endpoint(&self, address: &str) -> String {
        match self.transport {
            Transport::Plain | Transport::Proxied => address.to_owned(),
            Transport::Tls | Transport::MutualTls => format!("https://{address}"),
        }
    }

    fn file(&self, name: &str) -> String {
        self.authority.file(name).display().to_string()
    }
}
