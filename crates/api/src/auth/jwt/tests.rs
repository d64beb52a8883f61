use super::*;

const NOW: Duration = Duration::from_secs(1_800_000_000);
const RSA: &str = include_str!("fixtures/rsa.pem");
const RSA_PKCS1: &str = include_str!("fixtures/rsa.pkcs1.pem");
const RSA_PUBLIC: &str = include_str!("fixtures/rsa.pub.pem");
const EC: &str = include_str!("fixtures/ec.pem");
const EC_SEC1: &str = include_str!("fixtures/ec.sec1.pem");
const EC_PUBLIC: &str = include_str!("fixtures/ec.pub.pem");
const EC384_SEC1: &str = include_str!("fixtures/ec384.sec1.pem");
const ED: &str = include_str!("fixtures/ed.pem");
const ED_PUBLIC: &str = include_str!("fixtures/ed.pub.pem");
const OTHER_ED_PUBLIC: &str = include_str!("fixtures/ed.other.pub.pem");

fn jwt(method: &str, private: &str, public: &str) -> Result<Jwt, AuthError> {
    Jwt::new(JwtOptions {
        sign_method: method.to_owned(),
        public_key: public.into(),
        private_key: private.into(),
        ttl: Duration::from_secs(300),
    })
}

fn u(revision: u64) -> Option<AuthInfo> {
    Some(AuthInfo { username: "u".into(), revision })
}

#[test]
fn every_method_verifies_what_it_signs() {
    for (method, private, public) in [
        ("HS256", "secret", ""),
        ("HS384", "secret", ""),
        ("HS512", "secret", ""),
        ("RS256", RSA, RSA_PUBLIC),
        ("RS384", RSA, ""),
        ("RS512", RSA_PKCS1, RSA_PUBLIC),
        ("PS256", RSA, RSA_PUBLIC),
        ("PS384", RSA, ""),
        ("PS512", RSA_PKCS1, ""),
        ("ES256", EC, EC_PUBLIC),
        ("ES256", EC_SEC1, EC_PUBLIC),
        ("ES256", EC_SEC1, ""),
        ("ES384", EC384_SEC1, ""),
        ("EdDSA", ED, ED_PUBLIC),
        ("EdDSA", ED, ""),
    ] {
        let jwt = jwt(method, private, public).unwrap_or_else(|error| panic!("{method}: {error}"));
        let token = jwt.sign("u", 7, NOW).expect("there is a private key");
        assert_eq!(jwt.verify(&token, NOW), u(7), "{method}");
        assert_eq!(jwt.verify(&token, NOW + Duration::from_secs(299)), u(7), "{method}");
        assert_eq!(jwt.verify(&token, NOW + Duration::from_secs(300)), None, "{method}: ended");
        for bad in ["", "x", "a.b.c", &token[1..], &token[..token.len() - 9]] {
            assert_eq!(jwt.verify(bad, NOW), None, "{method}: {bad}");
        }
    }
}

#[test]
fn a_public_key_alone_verifies_and_does_not_sign() {
    for (method, private, public) in
        [("RS256", RSA, RSA_PUBLIC), ("ES256", EC, EC_PUBLIC), ("EdDSA", ED, ED_PUBLIC)]
    {
        let signs = jwt(method, private, "").expect("it is a key");
        let verifies = jwt(method, "", public).expect("it is a key");
        let token = signs.sign("u", 7, NOW).expect("there is a private key");
        assert_eq!(verifies.verify(&token, NOW), u(7), "{method}");
        assert_eq!(verifies.sign("u", 7, NOW), Err(error::VERIFY_ONLY), "{method}");
    }
}

#[test]
fn what_makes_no_sense_stops_the_start() {
    for method in ["", "HS1", "ES512", "none", "hs256"] {
        assert_eq!(jwt(method, "secret", "").err(), Some(AuthError::Options), "{method}");
    }
    for method in ["HS256", "RS256", "ES256", "EdDSA"] {
        assert_eq!(jwt(method, "", "").err(), Some(AuthError::MissingKey), "{method}");
    }
    assert_eq!(jwt("EdDSA", ED, OTHER_ED_PUBLIC).err(), Some(AuthError::KeyMismatch));
    for (method, private, public) in
        [("RS256", "x", ""), ("ES256", RSA, ""), ("EdDSA", "", "x"), ("ES256", "", RSA_PUBLIC)]
    {
        assert!(matches!(jwt(method, private, public), Err(AuthError::Key(_))), "{method}");
    }
}

/// A token whose key is right and that is wrong in another way.
#[test]
fn a_token_must_be_of_the_method_and_say_all_that_is_asked() {
    let key = EncodingKey::from_secret(b"secret").expect("any will do");
    let ours = jwt("HS256", "secret", "").expect("it is a key");
    let verify = |algorithm, claims: Value| {
        let token = jsonwebtoken::encode(&Header::new(algorithm), &claims, &key);
        ours.verify(&token.expect("it can be signed"), NOW)
    };
    let now = NOW.as_secs();
    let of = |algorithm| verify(algorithm, json!({ "username": "u", "revision": 7 }));
    assert_eq!(of(Algorithm::HS256), u(7), "a token may hold for ever");
    assert_eq!(of(Algorithm::HS512), None);
    for claims in [
        json!({ "username": "u" }),
        json!({ "revision": 7 }),
        json!({ "username": 1, "revision": 7 }),
        json!({ "username": "u", "revision": "7" }),
        json!({ "username": "u", "revision": 7, "exp": "soon" }),
        json!({ "username": "u", "revision": 7, "exp": now }),
        json!({ "username": "u", "revision": 7, "nbf": now + 1 }),
        json!(7),
    ] {
        assert_eq!(verify(Algorithm::HS256, claims.clone()), None, "{claims}");
    }
    let early = json!({ "username": "u", "revision": 7, "nbf": now, "aud": "x" });
    assert_eq!(verify(Algorithm::HS256, early), u(7));
}
