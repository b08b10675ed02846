//! Messages as JSON, field by field, under the names of the specification.

use serde::{Deserialize, Serialize};
use tls_codec::TlsDeserializeBytes;
use tls_codec::{DeserializeBytes, Serialize as Encode, Size, TlsSerialize, TlsSize};
use undertone_protocol::bitmap::Bitmap as Set;
use undertone_protocol::id::{Digest, Position};
use undertone_protocol::message as crate_message;
use undertone_protocol::message::{Message as Signable, RevealedShare, SecretKind};

use super::json::Hex;

macro_rules! object {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$field_doc])* pub(crate) $field: $type,)*
        }
    };
}

object!(AdvertiseKeys {
    sender: u32,
    cipher_key: Hex,
    mask_key: Hex,
});
object!(ShareKeys {
    sender: u32,
    directory: Hex,
    seed_commitment: Hex,
    dealing: Hex,
});
object!(ShareCommitments {
    self_mask: Hex,
    mask_key: Hex,
});
object!(DealtShare {
    sealed: Hex,
    commitments: ShareCommitments,
});
object!(Dealing { shares: Vec<DealtShare>, own: Option<ShareCommitments>, });
object!(ShareKeysBody { header: Signed<ShareKeys>, dealing: Dealing, });
object!(Delivery { header: Signed<ShareKeys>, share: DealtShare, });
object!(DealtToClient { sharers: Bitmap, deliveries: Vec<Delivery>, });
object!(MaskedInput {
    sender: u32,
    sharers: Hex,
    payload: Hex,
});
object!(ConsistencyCheck {
    sender: u32,
    directory: Hex,
    sharers: Hex,
    survivors: Hex,
});
object!(Revelation {
    dealer: u32,
    kind: u8,
    share: Hex,
});
object!(Unmask { sender: u32, shares: Vec<Revelation>, });
object!(DirectoryView { members: Bitmap, entries: Vec<Signed<AdvertiseKeys>>, nodes: Vec<Hex>, });
object!(
    /// A set: its size and its members.
    Bitmap { size: usize, members: Vec<u32>, }
);

/// A message and its signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signed<M> {
    pub(crate) message: M,
    pub(crate) signature: Hex,
}

/// What can be encoded, by the name of its type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value")]
pub(crate) enum Object {
    #[serde(rename = "Bitmap")]
    Bitmap(Bitmap),
    #[serde(rename = "Signed<AdvertiseKeys>")]
    AdvertiseKeys(Signed<AdvertiseKeys>),
    #[serde(rename = "DirectoryView")]
    DirectoryView(DirectoryView),
    #[serde(rename = "Dealing")]
    Dealing(Dealing),
    #[serde(rename = "ShareKeys body")]
    ShareKeysBody(ShareKeysBody),
    #[serde(rename = "DealtToClient")]
    DealtToClient(DealtToClient),
    #[serde(rename = "Signed<MaskedInput>")]
    MaskedInput(Signed<MaskedInput>),
    #[serde(rename = "Signed<ConsistencyCheck>")]
    ConsistencyCheck(Signed<ConsistencyCheck>),
    #[serde(rename = "Signed<ConsistencyCheck> statements<V>")]
    Statements(Vec<Signed<ConsistencyCheck>>),
    #[serde(rename = "Signed<Unmask>")]
    Unmask(Signed<Unmask>),
}

/// The encoding of a `DirectoryView`, whose type the crate keeps to itself.
#[derive(Debug, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub(crate) struct View {
    pub(crate) members: Set,
    pub(crate) entries: Vec<crate_message::Signed<crate_message::AdvertiseKeys>>,
    pub(crate) nodes: Vec<Digest>,
}

/// Bytes with their length before them.
pub(crate) type Opaque = Vec<u8>;

/// Reads a message of the crate as JSON.
pub(crate) trait ToJson {
    type Json;

    fn to_json(&self) -> Self::Json;
}

impl<T: ToJson> ToJson for Vec<T> {
    type Json = Vec<T::Json>;

    fn to_json(&self) -> Self::Json {
        self.iter().map(ToJson::to_json).collect()
    }
}

impl<M> ToJson for crate_message::Signed<M>
where
    M: Signable + ToJson + Encode + DeserializeBytes + Size,
{
    type Json = Signed<M::Json>;

    fn to_json(&self) -> Self::Json {
        let signature = self.signature.tls_serialize_detached().unwrap();
        Signed {
            message: self.message.to_json(),
            signature: Hex(signature),
        }
    }
}

impl ToJson for Set {
    type Json = Bitmap;

    fn to_json(&self) -> Bitmap {
        Bitmap {
            size: self.size(),
            members: self.iter().map(|Position(member)| member).collect(),
        }
    }
}

impl ToJson for Digest {
    type Json = Hex;

    fn to_json(&self) -> Hex {
        Hex::new(self.as_bytes())
    }
}

impl ToJson for crate_message::ShareCommitments {
    type Json = ShareCommitments;

    fn to_json(&self) -> ShareCommitments {
        ShareCommitments {
            self_mask: self.self_mask.to_json(),
            mask_key: self.mask_key.to_json(),
        }
    }
}

impl ToJson for crate_message::DealtShare {
    type Json = DealtShare;

    fn to_json(&self) -> DealtShare {
        DealtShare {
            sealed: Hex::new(self.sealed.0),
            commitments: self.commitments.to_json(),
        }
    }
}

impl ToJson for crate_message::Revelation {
    type Json = Revelation;

    fn to_json(&self) -> Revelation {
        let (kind, share) = match &self.share {
            RevealedShare::SelfMask(share) => (SecretKind::SelfMask, share),
            RevealedShare::MaskKey(share) => (SecretKind::MaskKey, share),
        };
        Revelation {
            dealer: self.dealer.0,
            kind: kind.code(),
            share: Hex::new(share.expose()),
        }
    }
}

/// Objects whose fields are objects or byte strings of the same name.
macro_rules! to_json {
    ($($name:ident: $crate_type:ty { $($field:ident => $read:expr),* })*) => {$(
        impl ToJson for $crate_type {
            type Json = $name;

            fn to_json(&self) -> $name {
                let this = self;
                $name { $($field: $read(&this.$field),)* }
            }
        }
    )*};
}

fn bytes(value: &impl Encode) -> Hex {
    Hex(value.tls_serialize_detached().unwrap())
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "called for fields like the others"
)]
fn index(value: &undertone_protocol::id::RosterIndex) -> u32 {
    value.0
}

fn json<T: ToJson>(value: &T) -> T::Json {
    value.to_json()
}

to_json! {
    AdvertiseKeys: crate_message::AdvertiseKeys {
        sender => index, cipher_key => bytes, mask_key => bytes
    }
    ShareKeys: crate_message::ShareKeys {
        sender => index, directory => bytes, seed_commitment => bytes, dealing => bytes
    }
    Dealing: crate_message::Dealing {
        shares => json, own => |own: &Option<crate_message::ShareCommitments>| own.as_ref().map(json)
    }
    ShareKeysBody: crate_message::ShareKeysBody { header => json, dealing => json }
    Delivery: crate_message::Delivery { header => json, share => json }
    DealtToClient: undertone_protocol::client::masked_input::DealtToClient {
        sharers => json, deliveries => json
    }
    MaskedInput: crate_message::MaskedInput { sender => index, sharers => bytes, payload => bytes }
    ConsistencyCheck: crate_message::ConsistencyCheck {
        sender => index, directory => bytes, sharers => bytes, survivors => bytes
    }
    Unmask: crate_message::Unmask { sender => index, shares => json }
    DirectoryView: View { members => json, entries => json, nodes => json }
}
