//! Mandates of an issuer that the tests hold the key of: good ones as the STS signs them, and every
//! kind of bad one.

use std::time::{SystemTime, UNIX_EPOCH};

use authority::{
    bundle,
    ids::KeyId,
    jwks::Jwk,
    key::SigningKey as Es256Key,
    mandate::{self, Claims, MandateUse, SubjectType},
    revocation,
    time::Timestamp,
};
use base64ct::{Base64UrlUnpadded, Encoding};
use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The issuer of stand-alone gateways.
pub const ISSUER: &str = "https://sts.test";
/// Their zone.
pub const ZONE: &str = "zone-1";
/// The application that calls.
pub const APPLICATION: &str = "app-1";
/// The resource that it calls.
pub const RESOURCE: &str = "resource://demo";

/// Somebody who signs mandates.
pub struct Issuer {
    secret: [u8; 32],
    kid: String,
}

impl Issuer {
    /// An issuer whose key is made from `seed`.
    pub fn new(kid: &str, seed: u8) -> Self {
        Self {
            secret: [seed; 32],
            kid: kid.to_owned(),
        }
    }

    /// Its keys, for a gateway's configuration.
    pub fn jwks(&self) -> Value {
        let key = self.es256().verifying_key();
        json!({"keys": [Jwk::new(&KeyId::from(self.kid.as_str()), &key)]})
    }

    /// A mandate as the STS would sign it.
    pub fn sign(&self, claims: &Claims) -> String {
        mandate::sign(claims, &KeyId::from(self.kid.as_str()), &self.es256()).unwrap()
    }

    /// A good mandate with these scopes.
    pub fn mandate(&self, scope: &str) -> String {
        self.sign(&claims(scope))
    }

    /// A mandate whose claims were changed as JSON, rightly signed.
    pub fn changed(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = json!(claims("demo:read"));
        change(&mut claims);
        self.sign_json(&self.header(), &claims)
    }

    /// A mandate whose header was changed, rightly signed over the changed header.
    pub fn with_header(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut header = self.header();
        change(&mut header);
        self.sign_json(&header, &json!(claims("demo:read")))
    }

    /// A good mandate whose signature was replaced by what `change` makes of it.
    pub fn with_signature(&self, change: impl FnOnce(Signature) -> Vec<u8>) -> String {
        let input = signing_input(&self.header(), &json!(claims("demo:read")));
        let signature = change(self.signature(&input));
        format!("{input}.{}", Base64UrlUnpadded::encode_string(&signature))
    }

    /// A mandate signed with HMAC keyed by the public key in the form that a careless verifier
    /// would pass to it.
    pub fn keyed_with_public_key(&self, form: PublicKeyForm) -> String {
        let (x, y) = self.es256().verifying_key().coordinates();
        let key = match form {
            PublicKeyForm::Point => [&[4][..], &x, &y].concat(),
            PublicKeyForm::Jwk => self.jwks()["keys"][0].to_string().into_bytes(),
        };
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": self.kid});
        let input = signing_input(&header, &json!(claims("demo:read")));
        let tag = hmac_sha256(&key, input.as_bytes());
        format!("{input}.{}", Base64UrlUnpadded::encode_string(&tag))
    }

    /// A good header.
    pub fn header(&self) -> Value {
        json!({"alg": "ES256", "typ": "JWT", "kid": self.kid})
    }

    /// Signs any header over any payload.
    pub fn sign_json(&self, header: &Value, claims: &Value) -> String {
        let input = signing_input(header, claims);
        let signature = self.signature(&input).to_bytes();
        format!("{input}.{}", Base64UrlUnpadded::encode_string(&signature))
    }

    /// The detached signature of a bundle.
    pub fn sign_bundle(&self, body: &[u8]) -> String {
        bundle::sign(body, &KeyId::from(self.kid.as_str()), &self.es256())
    }

    /// The detached signature of what gateways are told of revocation.
    pub fn sign_revocations(&self, body: &[u8]) -> String {
        revocation::sign(body, &KeyId::from(self.kid.as_str()), &self.es256())
    }

    fn signature(&self, input: &str) -> Signature {
        let key = SigningKey::from_slice(&self.secret).unwrap();
        key.sign(input.as_bytes())
    }

    fn es256(&self) -> Es256Key {
        Es256Key::from_bytes(&self.secret).unwrap()
    }
}

/// How a public key can be taken for the secret of an HMAC.
#[derive(Clone, Copy, Debug)]
pub enum PublicKeyForm {
    /// The uncompressed point.
    Point,
    /// The JWK's text.
    Jwk,
}

/// The claims of a good gateway mandate.
pub fn claims(scope: &str) -> Claims {
    let now = now();
    Claims {
        iss: ISSUER.into(),
        sub: APPLICATION.into(),
        aud: vec![ISSUER.into()],
        exp: Timestamp(now + 900),
        iat: Timestamp(now),
        nbf: None,
        jti: format!("jti-{now}-{scope}").into(),
        zone_id: ZONE.into(),
        client_id: APPLICATION.into(),
        sid: "sid-1".into(),
        root_sid: "sid-1".into(),
        mandate_use: MandateUse::Gateway,
        sub_type: SubjectType::Application,
        scope: Some(scope.into()),
        target: vec![RESOURCE.into()],
        agent_session_id: None,
        session_path: Vec::new(),
        granting_sessions: Vec::new(),
        labels: Vec::new(),
        delegation_edge_id: None,
        source_session_id: None,
        target_session_id: None,
        delegation_path: Vec::new(),
        delegation_chain: Vec::new(),
        hop_count: None,
        act: None,
        once: false,
    }
}

/// The claims of a good resource mandate.
pub fn resource_claims(scope: &str) -> Claims {
    Claims {
        aud: vec![RESOURCE.into()],
        mandate_use: MandateUse::Resource,
        ..claims(scope)
    }
}

/// Seconds since the epoch.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

/// The header of a token, decoded.
pub fn header_of(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(header).unwrap()).unwrap()
}

/// The claims of a token, decoded and not verified.
pub fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(claims).unwrap()).unwrap()
}

/// The configuration of a gateway that needs no STS: one resource, bound to `/demo/`.
pub fn stand_alone(issuer: &Issuer) -> Value {
    json!({
        "zone": ZONE,
        "issuer": ISSUER,
        "jwks": issuer.jwks(),
        "resources": [{
            "identifier": RESOURCE,
            "path_prefix": "/demo/",
            "scopes": ["demo:read", "demo:write"],
            "operations": [
                {"method": "GET", "path": "/demo/items", "scope": "demo:read"},
                {"method": "POST", "path": "/demo/items", "scope": "demo:write"},
                {"method": "GET", "path": "/demo/items/{id}", "scope": "demo:read"},
                {"method": "DELETE", "path": "/demo/items/{id}", "scope": "demo:write"},
            ],
        }],
        "policy": grants(APPLICATION, &[RESOURCE], &["demo:read", "demo:write"]),
    })
}

/// A data document by which the sessions of `owner`, to which the resource of all tests belongs, read it as
/// `reader` and read and write it as `lead`.
pub fn roles(owner: &str) -> String {
    format!(
        "# caracal:data-document\npackage caracal.authz\nimport rego.v1\n\
         app_ids := {{\"agent\": \"{owner}\"}}\n\
         grants := {{\"{RESOURCE}\": {{\"application\": \"agent\", \"roles\": {{\
         \"reader\": [\"demo:read\"], \"lead\": [\"demo:read\", \"demo:write\"]}}}}}}\n"
    )
}

/// A policy that grants an application these scopes on these resources.
pub fn grants(application: &str, resources: &[&str], scopes: &[&str]) -> String {
    let grant = json!({"application": "agent", "applications": {"agent": scopes}});
    let grants: serde_json::Map<_, _> = resources
        .iter()
        .map(|resource| ((*resource).to_owned(), grant.clone()))
        .collect();
    format!(
        "# caracal:data-document\npackage caracal.authz\n\nimport rego.v1\n\n\
         app_ids := {}\n\ngrants := {}\n",
        json!({"agent": application}),
        json!(grants)
    )
}

fn signing_input(header: &Value, claims: &Value) -> String {
    let part = |json: &Value| Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

/// RFC 2104.
fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let pad = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(message)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}
