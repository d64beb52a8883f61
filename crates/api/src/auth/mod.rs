//! The gate that every call goes through: who calls, and whether they may.
//!
//! ```text
//!   rpc table ─> Services::pass ─ rule of the call ─ admin? user? ─> handler
//!                                                                       │
//!     reads: barrier, then permit (who, and may they?), read, still_holds
//!     writes: propose, with who asks in the entry; apply decides ('state')
//! ```
//!
//! What holds:
//!
//! * A call that [`rule`] does not know is for `root`.
//! * A read is permitted by what was applied when its barrier was over, and is not answered when
//!   users or roles were changed meanwhile.
//! * While auth is off nothing is asked but whether it is on, and tokens are not looked at.

mod jwt;
mod passwords;
mod rules;

use std::sync::Arc;

use bytes::Bytes;
use node::{AuthInfo, Error, Need, Node, Rejected};
use proto::etcdserverpb::{InternalRaftRequest, RequestHeader};
use sha2::{Digest as _, Sha256};
use state::Reply;

use crate::rpc::{Caller, Credentials};
use crate::service::Services;
use crate::status::Status;
use crate::{error, trace};

use jwt::Jwt;
pub use jwt::JwtOptions;
pub(crate) use passwords::Passwords;
use rules::{Rule, rule};

/// Which tokens callers get, and what the gate believes.
#[derive(Debug)]
pub struct Auth {
    tokens: TokenKind,
    pub(crate) passwords: Passwords,
    /// `--client-cert-auth`: without a token, a verified certificate says who calls.
    client_cert_auth: bool,
}

/// `--auth-token`.
#[derive(Debug)]
pub enum TokenOptions {
    /// Random ones that members remember.
    Simple,
    /// Signed ones that say whose they are.
    Jwt(JwtOptions),
    /// None at all: nobody can show who they are but by a certificate.
    Nothing,
}

#[derive(Debug)]
enum TokenKind {
    Simple,
    Jwt(Box<Jwt>),
    Nothing,
}

/// Why tokens cannot be given out as it was asked for. The texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// Options that make no sense; what is wrong with them was logged.
    #[error("auth: invalid auth options")]
    Options,
    /// There is no key to sign or verify with.
    #[error("auth: missing key data")]
    MissingKey,
    /// The two keys are not of one pair.
    #[error("auth: public and private keys don't match")]
    KeyMismatch,
    /// A key that is none.
    #[error("{0}")]
    Key(String),
}

impl Auth {
    /// The gate that a member has from its start on. Keys are read here.
    pub fn new(
        tokens: TokenOptions,
        bcrypt_cost: u64,
        client_cert_auth: bool,
    ) -> Result<Self, AuthError> {
        let tokens = match tokens {
            TokenOptions::Simple => {
                tracing::warn!("simple token is not cryptographically signed");
                TokenKind::Simple
            }
            TokenOptions::Jwt(options) => TokenKind::Jwt(Box::new(Jwt::new(options)?)),
            TokenOptions::Nothing => TokenKind::Nothing,
        };
        Ok(Self { tokens, passwords: Passwords::new(bcrypt_cost), client_cert_auth })
    }

    /// What the proposer of an authentication chooses of the token.
    pub(crate) fn letters(&self) -> String {
        match self.tokens {
            TokenKind::Simple => passwords::letters(),
            TokenKind::Jwt(_) | TokenKind::Nothing => String::new(),
        }
    }

    /// The token for a user whose password was checked at this revision; `simple` is what the log
    /// has made of the letters.
    pub(crate) fn token(
        &self,
        node: &Node,
        username: &str,
        revision: u64,
        simple: String,
    ) -> Result<String, Status> {
        match &self.tokens {
            TokenKind::Simple => Ok(simple),
            TokenKind::Jwt(jwt) => jwt.sign(username, revision, node.wall_clock()),
            TokenKind::Nothing => Err(error::AUTH_FAILED),
        }
    }

    async fn user_of(&self, node: &Node, token: &str) -> Option<AuthInfo> {
        match &self.tokens {
            TokenKind::Simple => node.user_of_token(token).await,
            TokenKind::Jwt(jwt) => jwt.verify(token, node.wall_clock()),
            TokenKind::Nothing => None,
        }
    }

    /// Who calls: `None` where nothing says so.
    async fn who(&self, node: &Node, credentials: &Credentials) -> Result<Option<AuthInfo>, Error> {
        if let Some(token) = credentials.token.as_ref().or(credentials.authorization.as_ref()) {
            let text = std::str::from_utf8(token).unwrap_or_default();
            let token = text.strip_prefix("Bearer ").unwrap_or(text);
            let found = self.user_of(node, token).await;
            if found.is_none() {
                tracing::warn!("token-fingerprint" = fingerprint(token), "invalid auth token");
            }
            return found.ok_or(Error::InvalidAuthToken).map(Some);
        }
        let name = credentials.common_name.as_ref();
        let Some(name) = name.filter(|_| self.client_cert_auth) else { return Ok(None) };
        if credentials.by_gateway {
            tracing::warn!(
                "common-name" = &**name,
                "ignoring common name in gRPC-gateway proxy request"
            );
            return Ok(None);
        }
        Ok(Some(AuthInfo { username: name.clone(), revision: node.auth().revision() }))
    }
}

/// What may be logged of a token.
fn fingerprint(token: &str) -> String {
    let digest = Sha256::digest(token);
    digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

impl Services {
    /// What is asked of every caller before the handler of its call runs.
    pub(crate) async fn pass(
        &self,
        caller: &Caller,
        service: &str,
        method: &str,
    ) -> Result<(), Status> {
        if !self.node.is_auth_enabled() {
            return Ok(());
        }
        match rule(service, method) {
            Rule::Everybody | Rule::ByRequest => Ok(()),
            Rule::User => self.user(caller).await,
            Rule::Admin => self.admin(caller).await,
        }
    }

    /// The name of who calls, where auth is on and something says it.
    pub(crate) async fn name_of(&self, caller: &Caller) -> Option<Arc<str>> {
        if !self.node.is_auth_enabled() {
            return None;
        }
        let who = self.auth.who(&self.node, &caller.credentials).await.ok().flatten();
        who.map(|who| who.username)
    }

    /// Refuses who is nobody.
    pub(crate) async fn user(&self, caller: &Caller) -> Result<(), Status> {
        if !self.node.is_auth_enabled() {
            return Ok(());
        }
        let who = self.auth.who(&self.node, &caller.credentials).await?;
        if who.is_some() { Ok(()) } else { Err(error::USER_EMPTY) }
    }

    /// Refuses who does not have the role `root`.
    pub(crate) async fn admin(&self, caller: &Caller) -> Result<(), Status> {
        Ok(self.permit(caller, Need::Admin).await.map(drop)?)
    }

    /// Refuses who does not have what the call needs, by what is applied now. Gives who it is,
    /// `None` where users do not matter.
    pub(crate) async fn permit(
        &self,
        caller: &Caller,
        need: Need<'_>,
    ) -> Result<Option<AuthInfo>, Error> {
        if !self.node.is_auth_enabled() {
            return Ok(None);
        }
        let who = self.auth.who(&self.node, &caller.credentials).await?.unwrap_or_default();
        self.node.permit(&who, need)?;
        Ok(Some(who))
    }

    /// Refuses who may not change the members, by a token that another member passes on.
    pub async fn admin_by_token(&self, token: Option<Bytes>) -> Result<(), Error> {
        let credentials = Credentials { authorization: token, ..Credentials::default() };
        let caller = Caller { credentials, ..Caller::default() };
        self.permit(&caller, Need::Admin).await.map(drop)
    }

    /// As [`Services::permit`], for what nobody may do who is nobody, whatever it is about.
    pub(crate) async fn permit_user(
        &self,
        caller: &Caller,
        need: Need<'_>,
    ) -> Result<Option<AuthInfo>, Error> {
        let who = self.permit(caller, need).await?;
        match who {
            Some(who) if who == AuthInfo::default() => Err(Rejected::UserEmpty.into()),
            who => Ok(who),
        }
    }

    /// Refuses to answer what was permitted, and read since, if users or roles were changed
    /// meanwhile.
    pub(crate) fn still_holds(&self, permitted: Option<AuthInfo>) -> Result<(), Status> {
        match permitted {
            Some(who) if who.revision != 0 && who.revision != self.node.auth().revision() => {
                Err(error::AUTH_OLD_REVISION)
            }
            _ => Ok(()),
        }
    }

    /// Sends a request of this caller through the log; whether it may is decided there.
    pub(crate) async fn propose(
        &self,
        caller: &Caller,
        mut request: InternalRaftRequest,
    ) -> Result<(Reply, i64), Error> {
        if self.node.is_auth_enabled()
            && let Some(who) = self.auth.who(&self.node, &caller.credentials).await?
        {
            request.header = Some(RequestHeader {
                username: who.username.to_string(),
                auth_revision: who.revision,
                ..RequestHeader::default()
            });
        }
        let Some(span) = &caller.span else { return self.node.propose(request).await };
        span.event("Send raft proposal", Vec::new());
        let outcome = self.node.propose(request).await;
        match &outcome {
            // A refusal is a result, too.
            Ok(_) | Err(Error::Rejected(_)) => span.event("Receive raft result", Vec::new()),
            Err(failure) => {
                let text = failure.to_string();
                span.event("exception", vec![trace::text("exception.message", text.as_bytes())]);
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests;
