//! Identifiers, one type per noun, so that an id of one kind cannot be passed for another's.

use std::{borrow::Borrow, fmt};

use arcstr::Substr;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Substr);

        impl $name {
            /// The id as it stands on the wire.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<Substr> for $name {
            fn from(id: Substr) -> Self {
                Self(id)
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id.into())
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.into())
            }
        }
    )+};
}

id! {
    /// A zone: the tenancy boundary.
    ZoneId;
    /// An application: registered client software; the `client_id` of a mandate.
    ApplicationId;
    /// A resource's id in its zone (not its identifier, which is a URI).
    ResourceId;
    /// A signing key; the `kid` of a JOSE header.
    KeyId;
    /// An authority record, one per mint; `sid` and `root_sid` of a mandate.
    AuthorityRecordId;
    /// A governed session; the `agent_session_id` of a mandate.
    AgentSessionId;
    /// A delegation; the `delegation_edge_id` of a mandate.
    DelegationId;
    /// A policy set.
    PolicySetId;
    /// One immutable version of a policy set.
    PolicySetVersionId;
}
