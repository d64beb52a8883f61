//! Signed tokens, which say themselves whose they are, of which auth revision, and until when they
//! hold. Nothing is kept of them: any change of users and roles makes all that were given out
//! before too old.

use std::borrow::Cow;
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use node::AuthInfo;
use proto::json::{Alphabet, decode_base64, encode_base64};
use serde_json::{Value, json};

use super::AuthError;
use crate::error;
use crate::status::{Code, Status};

/// How `--auth-token=jwt,..` wants tokens to be.
#[derive(Debug, Clone)]
pub struct JwtOptions {
    /// `sign-method`.
    pub sign_method: String,
    /// What lies in the file `pub-key`.
    pub public_key: Vec<u8>,
    /// What lies in the file `priv-key`.
    pub private_key: Vec<u8>,
    /// `ttl`.
    pub ttl: Duration,
}

/// Signs and verifies.
pub(super) struct Jwt {
    algorithm: Algorithm,
    /// `None` where there is a public key alone.
    sign: Option<EncodingKey>,
    verify: DecodingKey,
    ttl: Duration,
}

impl std::fmt::Debug for Jwt {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Jwt").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Jwt {
    pub(super) fn new(options: JwtOptions) -> Result<Self, AuthError> {
        let Some(algorithm) = algorithm(&options.sign_method) else {
            let (method, error) = (options.sign_method, "auth: invalid auth signature method");
            tracing::error!("sign-method" = method, error, "problem loading JWT options");
            return Err(AuthError::Options);
        };
        let JwtOptions { public_key, private_key, ttl, .. } = options;
        let (sign, verify) = match Kind::of(algorithm) {
            Kind::Secret => secret(&private_key)?,
            kind => pair(kind, algorithm, &public_key, &private_key)?,
        };
        Ok(Self { algorithm, sign, verify, ttl })
    }

    /// A token for a user.
    pub(super) fn sign(
        &self,
        username: &str,
        revision: u64,
        unix: Duration,
    ) -> Result<String, Status> {
        let key = self.sign.as_ref().ok_or(error::VERIFY_ONLY)?;
        let ends = (unix + self.ttl).as_secs();
        let claims = json!({ "username": username, "revision": revision, "exp": ends });
        jsonwebtoken::encode(&Header::new(self.algorithm), &claims, key)
            .map_err(|failure| Status::new(Code::Unknown, format!("failed to sign: {failure}")))
    }

    /// Whose token this is, if it was signed by the right key and still holds.
    pub(super) fn verify(&self, token: &str, unix: Duration) -> Option<AuthInfo> {
        let mut validation = Validation::new(self.algorithm);
        // The times are looked at below, as etcd does: no leave, and none that must be there.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let decoded = jsonwebtoken::decode::<Value>(token, &self.verify, &validation);
        let claims = decoded
            .inspect_err(|failure| {
                let error = failure.to_string();
                tracing::warn!(error, "failed to parse a JWT token");
            })
            .ok()?
            .claims;
        let now = unix.as_secs_f64();
        if !(holds(&claims, "exp", |ends| now < ends)?
            && holds(&claims, "nbf", |begins| now >= begins)?)
        {
            tracing::warn!(
                error = "token is not valid at this time",
                "failed to parse a JWT token"
            );
            return None;
        }
        let username = claims.get("username")?.as_str()?.into();
        // Numbers are Go's float64 on the way.
        let revision = claims.get("revision")?.as_f64()? as u64;
        Some(AuthInfo { username, revision })
    }
}

/// Whether a time that may be among the claims is fine; `None` where it is no time.
fn holds(claims: &Value, name: &str, is_fine: impl Fn(f64) -> bool) -> Option<bool> {
    match claims.get(name) {
        None => Some(true),
        Some(time) => time.as_f64().map(is_fine),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Secret,
    Rsa,
    Ec,
    Ed,
}

impl Kind {
    fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => Self::Secret,
            Algorithm::ES256 | Algorithm::ES384 => Self::Ec,
            Algorithm::EdDSA => Self::Ed,
            _ => Self::Rsa,
        }
    }

    fn private(self, pem: &[u8]) -> jsonwebtoken::errors::Result<EncodingKey> {
        match self {
            Self::Secret => EncodingKey::from_secret(pem),
            Self::Rsa => EncodingKey::from_rsa_pem(pem),
            Self::Ec => EncodingKey::from_ec_pem(pem),
            Self::Ed => EncodingKey::from_ed_pem(pem),
        }
    }

    fn public(self, pem: &[u8]) -> jsonwebtoken::errors::Result<DecodingKey> {
        match self {
            Self::Secret => DecodingKey::from_secret(pem),
            Self::Rsa => DecodingKey::from_rsa_pem(pem),
            Self::Ec => DecodingKey::from_ec_pem(pem),
            Self::Ed => DecodingKey::from_ed_pem(pem),
        }
    }
}

/// etcd's names of the methods; ES512, which etcd has too, is not there.
fn algorithm(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}

type Keys = (Option<EncodingKey>, DecodingKey);

fn secret(secret: &[u8]) -> Result<Keys, AuthError> {
    if secret.is_empty() {
        return Err(AuthError::MissingKey);
    }
    let sign = Kind::Secret.private(secret).map_err(bad_key)?;
    Ok((Some(sign), Kind::Secret.public(secret).map_err(bad_key)?))
}

/// Reads what is there of a pair. A private key is enough, and so is a public one to verify.
fn pair(
    kind: Kind,
    algorithm: Algorithm,
    public: &[u8],
    private: &[u8],
) -> Result<Keys, AuthError> {
    let public = match public {
        [] => None,
        pem => Some(kind.public(pem).map_err(bad_key)?),
    };
    let private = match private {
        [] => None,
        pem => Some(kind.private(&as_pkcs8(algorithm, pem)).map_err(bad_key)?),
    };
    let Some(private) = private else {
        return public.map(|public| (None, public)).ok_or(AuthError::MissingKey);
    };
    let own = Jwk::from_encoding_key(&private, algorithm).map_err(bad_key)?;
    let own = DecodingKey::from_jwk(&own).map_err(bad_key)?;
    if let Some(public) = public
        && !is_pair(algorithm, &private, &public)
    {
        return Err(AuthError::KeyMismatch);
    }
    Ok((Some(private), own))
}

/// Puts a key of an elliptic curve as `openssl ecparam` writes it (SEC 1) into the envelope
/// (PKCS #8) in which keys are read here; what is no such key stays as it is.
fn as_pkcs8(algorithm: Algorithm, pem: &[u8]) -> Cow<'_, [u8]> {
    sec1_in_pkcs8(algorithm, pem).map_or(Cow::Borrowed(pem), Cow::Owned)
}

fn sec1_in_pkcs8(algorithm: Algorithm, pem: &[u8]) -> Option<Vec<u8>> {
    // The object identifiers of public keys on curves, and of the two curves.
    const ON_A_CURVE: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    let curve: &[u8] = match algorithm {
        Algorithm::ES256 => &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
        Algorithm::ES384 => &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22],
        _ => return None,
    };
    let text = std::str::from_utf8(pem).ok()?;
    let (_, text) = text.split_once("-----BEGIN EC PRIVATE KEY-----")?;
    let (text, _) = text.split_once("-----END EC PRIVATE KEY-----")?;
    let text: String = text.split_whitespace().collect();
    let mut key = Vec::new();
    decode_base64(text.as_bytes(), Alphabet::Standard, true, &mut key).ok()?;
    let kind = der(0x30, &[ON_A_CURVE, curve].concat())?;
    let version: &[u8] = &[0x02, 0x01, 0x00];
    let envelope = der(0x30, &[version, &kind, &der(0x04, &key)?].concat())?;
    let mut out = b"-----BEGIN PRIVATE KEY-----\n".to_vec();
    encode_base64(&envelope, &mut out);
    out.extend_from_slice(b"\n-----END PRIVATE KEY-----\n");
    Some(out)
}

/// A value of this tag; `None` where it is longer than any key.
fn der(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let len = value.len();
    let mut out = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x100 => vec![tag, 0x81, len as u8],
        0x100..0x1_0000 => vec![tag, 0x82, (len >> 8) as u8, len as u8],
        _ => return None,
    };
    out.extend_from_slice(value);
    Some(out)
}

/// Whether one key verifies what the other signs.
fn is_pair(algorithm: Algorithm, private: &EncodingKey, public: &DecodingKey) -> bool {
    let mut validation = Validation::new(algorithm);
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    let signed = jsonwebtoken::encode(&Header::new(algorithm), &json!({}), private);
    signed.is_ok_and(|token| jsonwebtoken::decode::<Value>(token, public, &validation).is_ok())
}

fn bad_key(failure: jsonwebtoken::errors::Error) -> AuthError {
    AuthError::Key(format!("invalid key: {failure}"))
}

#[cfg(test)]
mod tests;
