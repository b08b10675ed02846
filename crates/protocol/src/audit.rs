//! The audit log's arithmetic: how entries are chained, and what the signature on a head says.
//!
//! An entry's content is known here by its digest alone, so that a client can follow a chain
//! without being shown what is in it.
//!
//! Specification: chapter 19, "Audit log", sections 19.2 to 19.4.

use std::fmt;
use std::str::FromStr;

use tls_codec::{TlsDeserializeBytes, TlsSerialize, TlsSize};

use crate::codec::{self, Label};
use crate::error::ProtocolError;
use crate::id::{Digest, RosterIndex, TaskId};
use crate::keys::{IdentityKey, IdentityPublicKey, SignatureBytes};

/// Which chain: one for each task, and one for the service itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chain {
    /// What concerns no single task: starts, tokens, administrators.
    Service,
    /// What concerns one task.
    Task(TaskId),
}

const SERVICE: &str = "service";

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str(SERVICE),
            Self::Task(task) => task.fmt(f),
        }
    }
}

impl FromStr for Chain {
    type Err = ProtocolError;

    /// `service`, or a task's id.
    fn from_str(text: &str) -> Result<Self, ProtocolError> {
        if text == SERVICE {
            return Ok(Self::Service);
        }
        text.parse().map(Self::Task)
    }
}

/// How far a chain goes: its last entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The entry's number, from 0.
    pub sequence: u64,
    /// Its digest, which binds all entries before it.
    pub digest: Digest,
}

/// A chain that is followed from entry to entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Follower {
    next: u64,
    digest: Digest,
}

impl Follower {
    /// At the start of a chain, before entry 0. The start binds the chain's name: no entry of one
    /// chain can be taken for one of another.
    pub fn start(chain: Chain) -> Self {
        let name = chain.to_string();
        Self {
            next: 0,
            digest: codec::hash(Label::AuditEntry, &[name.as_bytes()]),
        }
    }

    /// Behind the entry `head`.
    pub fn after(head: Head) -> Self {
        Self {
            next: head.sequence.saturating_add(1),
            digest: head.digest,
        }
    }

    /// Behind `entries` entries, of which the last has this digest; the start's if there are none.
    pub fn at(entries: u64, digest: Digest) -> Self {
        Self {
            next: entries,
            digest,
        }
    }

    /// The digest of the last entry, or of the start.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The number of the entry that comes next.
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// Takes the next entry, whose content has this digest; returns the head that it makes.
    pub fn follow(&mut self, content: Digest) -> Head {
        let sequence = self.next;
        let parts: [&[u8]; 3] = [
            self.digest.as_bytes(),
            &sequence.to_be_bytes(),
            content.as_bytes(),
        ];
        let digest = codec::hash(Label::AuditEntry, &parts);
        let head = Head { sequence, digest };
        *self = Self::after(head);
        head
    }

    /// The last entry that was taken; `None` at the start.
    pub fn head(&self) -> Option<Head> {
        Some(Head {
            sequence: self.next.checked_sub(1)?,
            digest: self.digest,
        })
    }
}

/// The digest of an entry's content, over its bytes as they stand.
pub fn content_digest(content: &[u8]) -> Digest {
    codec::hash(Label::AuditContent, &[content])
}

/// The digest of a set of clients, given ascending by roster index.
pub fn clients_digest(clients: impl IntoIterator<Item = RosterIndex>) -> Digest {
    let clients: Vec<u8> = clients
        .into_iter()
        .flat_map(|client| client.0.to_be_bytes())
        .collect();
    codec::hash(Label::AuditClients, &[&clients])
}

/// What the service says of a chain: this is its last entry, at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadStatement {
    /// The chain.
    pub chain: Chain,
    /// Its last entry.
    pub head: Head,
    /// When this was said, in milliseconds since the Unix epoch.
    pub time: u64,
}

/// The encoding of a statement.
#[derive(TlsSerialize, TlsDeserializeBytes, TlsSize)]
struct Encoded {
    chain: Vec<u8>,
    sequence: u64,
    digest: Digest,
    time: u64,
}

impl HeadStatement {
    fn encode(&self) -> Result<Vec<u8>, ProtocolError> {
        let encoded = Encoded {
            chain: self.chain.to_string().into_bytes(),
            sequence: self.head.sequence,
            digest: self.head.digest,
            time: self.time,
        };
        codec::encode("an audit head", &encoded)
    }

    /// Signs the statement with the service's audit key.
    ///
    /// # Errors
    /// None in practice: a statement always encodes.
    pub fn sign(self, key: &IdentityKey) -> Result<SignedHead, ProtocolError> {
        let encoding = self.encode()?;
        Ok(SignedHead {
            statement: self,
            signature: key.sign(Label::AuditHead, &[], &encoding),
            key: key.public(),
        })
    }
}

/// A statement with its signature and the key that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedHead {
    /// What is said.
    pub statement: HeadStatement,
    /// The signature.
    pub signature: SignatureBytes,
    /// The service's audit key. That it is the service's is for the verifier to know.
    pub key: IdentityPublicKey,
}

impl SignedHead {
    /// Checks the signature under the key that the statement itself names.
    ///
    /// # Errors
    /// [`ProtocolError::BadSignature`].
    pub fn verify(&self) -> Result<(), ProtocolError> {
        let encoding = self.statement.encode()?;
        let signer: (&dyn fmt::Display, _) = (&"the audit key", "audit head");
        self.key
            .verify(Label::AuditHead, &[], &encoding, &self.signature, signer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Secret32;

    fn content(n: u8) -> Digest {
        content_digest(&[n])
    }

    fn chain(contents: &[Digest]) -> Head {
        let mut follower = Follower::start(Chain::Service);
        for content in contents {
            follower.follow(*content);
        }
        follower.head().unwrap()
    }

    /// Spec.
    #[test]
    fn the_head_depends_on_every_entry_its_place_and_the_chain() {
        let honest = [content(1), content(2), content(3)];
        let head = chain(&honest);
        assert_eq!(head.sequence, 2);
        for at in 0..honest.len() {
            let mut other = honest;
            other[at] = content(9);
            assert_ne!(chain(&other).digest, head.digest, "entry {at}");
        }
        let swapped = [content(2), content(1), content(3)];
        assert_ne!(chain(&swapped).digest, head.digest);
        assert_ne!(chain(&honest[..2]).digest, head.digest);
        let task = Chain::Task(TaskId::from([7; 16]));
        let mut other = Follower::start(task);
        for content in &honest {
            other.follow(*content);
        }
        assert_ne!(other.head().unwrap().digest, head.digest);
    }

    /// Whoever remembers a head can go on from it, without what came before.
    #[test]
    fn a_chain_is_followed_from_any_head() {
        let early = chain(&[content(1)]);
        let mut later = Follower::after(early);
        assert_eq!(later.next_sequence(), 1);
        later.follow(content(2));
        assert_eq!(later.head(), Some(chain(&[content(1), content(2)])));
        assert_eq!(Follower::start(Chain::Service).head(), None);
    }

    /// Known answers, computed by hand-written Python with hashlib.
    #[test]
    fn digests_are_those_of_the_specification() {
        let head = chain(&[content_digest(b"{}")]);
        assert_eq!(content_digest(b"{}").to_string(), CONTENT);
        assert_eq!(head.digest.to_string(), ENTRY);
        assert_eq!(clients_digest([1, 4].map(RosterIndex)).to_string(), CLIENTS);
    }

    const CONTENT: &str = "07c908b75b984b0d5f218a9c04a567a3372ec6f4c460910b37bb606710e3c4c6";
    const ENTRY: &str = "1750c53c76d6c3132df491a0839886c5b673620d170ecb2f3204f3031d0a1ca9";
    const CLIENTS: &str = "e1bb6c7769ba62bcfcfc43af85e8602f86ede87506ce7957f87f0f71059a1b98";

    /// Spec.
    #[test]
    fn a_signature_binds_all_of_the_statement() {
        let key = IdentityKey::from_seed(&Secret32::from([3; 32]));
        let statement = HeadStatement {
            chain: Chain::Task(TaskId::from([7; 16])),
            head: chain(&[content(1)]),
            time: 1_800_000_000_000,
        };
        let signed = statement.sign(&key).unwrap();
        signed.verify().unwrap();
        let changes: [fn(&mut SignedHead); 5] = [
            |signed| signed.statement.chain = Chain::Service,
            |signed| signed.statement.head.sequence = 1,
            |signed| signed.statement.head.digest = content(1),
            |signed| signed.statement.time = 0,
            |signed| signed.key = IdentityKey::from_seed(&Secret32::from([4; 32])).public(),
        ];
        for (at, change) in changes.iter().enumerate() {
            let mut other = signed;
            change(&mut other);
            assert!(other.verify().is_err(), "change {at}");
        }
    }

    #[test]
    fn chains_have_names() {
        let task = Chain::Task(TaskId::from([0xab; 16]));
        for chain in [Chain::Service, task] {
            assert_eq!(chain.to_string().parse::<Chain>().unwrap(), chain);
        }
        assert!("services".parse::<Chain>().is_err());
    }
}
