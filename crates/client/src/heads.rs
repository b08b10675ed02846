//! What this client remembers of the service's audit log: the signed head that it accepted last.
//!
//! Each head that the service shows later must go on from that one. A service, or whoever holds its
//! database, that rewrites or shortens what it wrote down before is noticed by every client that
//! remembers it. The head that was refused is kept beside the one that is remembered: two
//! statements with the service's own signatures that contradict each other.
//!
//! Specification: chapter 19, "Audit log", section 19.6.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use undertone_protocol::ProtocolError;
use undertone_protocol::audit::{Chain, Follower, Head, HeadStatement, SignedHead};
use undertone_protocol::id::{Digest, TaskId};
use undertone_protocol::keys::IdentityPublicKey;

use crate::api::Link;
use crate::error::{ClientError, RequestError};
use crate::journal::sync_directory;
use crate::observer::Observer;
use crate::problem::ProblemKind;
use crate::round::off_runtime;

/// Where heads are kept, in the state directory.
const FOLDER: &str = "audit";

/// The most links that lead from one head to the next: about an hour of a service's busiest task
/// would not make so many.
const MOST_LINKS: u64 = 1_000_000;

/// The signed head of a task's audit log, in the JSON that the service publishes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The chain: the task's id.
    pub chain: String,
    /// The number of its last entry.
    pub sequence: u64,
    /// That entry's digest, 64 hexadecimal digits.
    pub head: String,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The signature, 128 hexadecimal digits.
    pub signature: String,
    /// The service's audit key, 64 hexadecimal digits.
    pub key: String,
}

impl TryFrom<&AuditHead> for SignedHead {
    type Error = ProtocolError;

    /// Reads it; whether the signature verifies is not asked.
    fn try_from(json: &AuditHead) -> Result<Self, ProtocolError> {
        let head = Head {
            sequence: json.sequence,
            digest: json.head.parse()?,
        };
        Ok(Self {
            statement: HeadStatement {
                chain: json.chain.parse()?,
                head,
                time: json.time,
            },
            signature: json.signature.parse()?,
            key: json.key.parse()?,
        })
    }
}

/// A page of links.
#[derive(Deserialize)]
struct Links {
    links: Vec<LinkJson>,
}

#[derive(Deserialize)]
struct LinkJson {
    sequence: u64,
    content: String,
}

/// The memory of one task's chain.
#[derive(Debug)]
pub(crate) struct Heads {
    task: TaskId,
    folder: PathBuf,
    /// The audit key, where the client's owner has pinned it.
    pinned: Option<IdentityPublicKey>,
    remembered: Option<SignedHead>,
}

/// How a head stands to the one that is remembered.
enum Next {
    /// It is that one.
    Same,
    /// It is the first.
    First,
    /// It comes later; the links in between must lead to it.
    Later(Head),
}

impl Heads {
    /// Reads what is remembered of a task.
    ///
    /// # Errors
    /// [`ClientError::AuditMemory`] if it is there and cannot be read.
    pub(crate) fn open(
        state: &Path,
        task: TaskId,
        pinned: Option<IdentityPublicKey>,
    ) -> Result<Self, ClientError> {
        let mut heads = Self {
            task,
            folder: state.join(FOLDER),
            pinned,
            remembered: None,
        };
        let path = heads.remembered_path();
        let failed = |reason: String| ClientError::AuditMemory {
            path: path.clone(),
            reason,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(heads),
            Err(error) => return Err(failed(error.to_string())),
        };
        let json: AuditHead = serde_json::from_str(&text).map_err(|e| failed(e.to_string()))?;
        let signed = SignedHead::try_from(&json).map_err(|e| failed(e.to_string()))?;
        signed.verify().map_err(|e| failed(e.to_string()))?;
        if signed.statement.chain != Chain::Task(task) {
            return Err(failed(format!("it is not of task {task}")));
        }
        heads.remembered = Some(signed);
        Ok(heads)
    }

    fn remembered_path(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.task))
    }

    fn refused_path(&self) -> PathBuf {
        self.folder.join(format!("{}.refused.json", self.task))
    }

    /// Asks the service for the head as it is now, and checks it.
    ///
    /// # Errors
    /// As [`check`](Self::check), and [`ClientError::Request`].
    pub(crate) async fn ask<O: Observer>(
        &mut self,
        link: &mut Link<'_, O>,
    ) -> Result<(), ClientError> {
        let path = format!("v1/tasks/{}/audit/head", self.task);
        let head = match link.json("an audit head", path, Duration::ZERO).await {
            Ok(head) => Some(head),
            Err(RequestError::Refused(problem)) if problem.kind == ProblemKind::NotFound => None,
            Err(source) => {
                let what = "the head of the audit log";
                return Err(ClientError::Request { what, source });
            }
        };
        self.check(head.as_ref(), link).await
    }

    /// Checks a head that the service shows, and remembers it in place of the earlier one.
    ///
    /// # Errors
    /// [`ClientError::AuditLog`] if it does not go on from the one that is remembered,
    /// [`ClientError::AuditKey`] if another key than the pinned one signed it,
    /// [`ClientError::Misbehaving`] if it is no signed head of this task,
    /// [`ClientError::Request`], [`ClientError::AuditMemory`].
    pub(crate) async fn check<O: Observer>(
        &mut self,
        found: Option<&AuditHead>,
        link: &mut Link<'_, O>,
    ) -> Result<(), ClientError> {
        let Some(json) = found else {
            return match (&self.remembered, self.pinned) {
                (Some(_), _) => Err(self.refuse(None, "the service shows none any more").await),
                // Whoever cannot sign as the service would rather show nothing.
                (None, Some(_)) => Err(ClientError::Misbehaving(
                    "it shows no head of its audit log, whose key is pinned".to_owned(),
                )),
                (None, None) => Ok(()),
            };
        };
        let bad = |e: ProtocolError| ClientError::Misbehaving(format!("its audit head: {e}"));
        let signed = SignedHead::try_from(json).map_err(bad)?;
        signed.verify().map_err(bad)?;
        if signed.statement.chain != Chain::Task(self.task) {
            let said = format!("the audit head is of chain {}", signed.statement.chain);
            return Err(ClientError::Misbehaving(said));
        }
        if let Some(expected) = self.pinned.filter(|pinned| *pinned != signed.key) {
            let found = signed.key;
            return Err(ClientError::AuditKey { expected, found });
        }
        match self.compare(&signed) {
            Ok(Next::Same) => return Ok(()),
            Ok(Next::First) => {}
            Ok(Next::Later(from)) => {
                let head = signed.statement.head;
                if let Err(what) = follow(self.task, from, head, link).await? {
                    return Err(self.refuse(Some(json), &what).await);
                }
            }
            Err(what) => return Err(self.refuse(Some(json), &what).await),
        }
        self.write(self.remembered_path(), json).await?;
        self.remembered = Some(signed);
        Ok(())
    }

    /// What can be told without the links in between; what is wrong as the error.
    fn compare(&self, found: &SignedHead) -> Result<Next, String> {
        let Some(old) = &self.remembered else {
            return Ok(Next::First);
        };
        if old.key != found.key {
            return Err(format!("its key was {}, and is {} now", old.key, found.key));
        }
        let (old, new) = (old.statement.head, found.statement.head);
        if new.sequence < old.sequence {
            return Err(format!(
                "it had entry {}, and ends at {} now: history was cut off",
                old.sequence, new.sequence
            ));
        }
        if new.sequence > old.sequence {
            return Ok(Next::Later(old));
        }
        if new.digest == old.digest {
            return Ok(Next::Same);
        }
        Err(rewritten(old, new.digest))
    }

    /// Keeps the head that was refused, as evidence.
    async fn refuse(&self, found: Option<&AuditHead>, what: &str) -> ClientError {
        if let Some(found) = found
            && let Err(error) = self.write(self.refused_path(), found).await
        {
            tracing::warn!(%error, "the refused audit head could not be kept");
        }
        ClientError::AuditLog {
            task: self.task,
            what: what.to_owned(),
            remembered: self.remembered_path(),
            refused: self.refused_path(),
        }
    }

    /// Writes a head so that after a crash the file is the old one or the new one.
    async fn write(&self, path: PathBuf, json: &AuditHead) -> Result<(), ClientError> {
        let failed = |path: &Path, reason: String| ClientError::AuditMemory {
            path: path.to_owned(),
            reason,
        };
        let text = serde_json::to_string(json).map_err(|e| failed(&path, e.to_string()))?;
        let folder = self.folder.clone();
        let target = path.clone();
        off_runtime(move || {
            let fresh = target.with_extension("new");
            fs::create_dir_all(&folder)?;
            fs::write(&fresh, text)?;
            fs::File::open(&fresh)?.sync_all()?;
            fs::rename(&fresh, &target)?;
            sync_directory(&folder)
        })
        .await?
        .map_err(|e: std::io::Error| failed(&path, e.to_string()))
    }
}

fn rewritten(old: Head, now: Digest) -> String {
    format!(
        "entry {} had digest {}, and has {now} now: history was rewritten",
        old.sequence, old.digest
    )
}

/// Follows the links from one head to a later one. The inner error says where they do not lead.
async fn follow<O: Observer>(
    task: TaskId,
    from: Head,
    to: Head,
    link: &mut Link<'_, O>,
) -> Result<Result<(), String>, ClientError> {
    if to.sequence.saturating_sub(from.sequence) > MOST_LINKS {
        let said = format!(
            "its audit log went from entry {} to {}, which no task's does",
            from.sequence, to.sequence
        );
        return Err(ClientError::Misbehaving(said));
    }
    let mut follower = Follower::after(from);
    while follower.next_sequence() <= to.sequence {
        let due = follower.next_sequence();
        let path = format!("v1/tasks/{task}/audit/links?from={due}");
        let page: Links = link
            .json("links of the audit log", path, Duration::ZERO)
            .await
            .map_err(|source| ClientError::Request {
                what: "the links of the audit log",
                source,
            })?;
        for one in &page.links {
            if one.sequence > to.sequence {
                break;
            }
            if one.sequence != follower.next_sequence() {
                return Ok(Err(format!("link {} is missing", follower.next_sequence())));
            }
            let Ok(content) = one.content.parse() else {
                return Ok(Err(format!("link {} is no digest", one.sequence)));
            };
            follower.follow(content);
        }
        if follower.next_sequence() == due {
            return Ok(Err(format!("link {due} is missing")));
        }
    }
    if follower.digest() == to.digest {
        Ok(Ok(()))
    } else {
        Ok(Err(format!(
            "the links from entry {} lead to digest {} at {}, not to {}: history was rewritten",
            from.sequence,
            follower.digest(),
            to.sequence,
            to.digest
        )))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use undertone_privacy::{Budget, Delta, Epsilon};
    use undertone_protocol::keys::{IdentityKey, Secret32};

    use super::*;
    use crate::config::JoinConfig;
    use crate::http::Http;
    use crate::policy::Policy;

    /// Whoever has not the key cannot sign a head, and might show none instead.
    ///
    /// Spec.
    #[tokio::test]
    async fn a_pinned_key_asks_for_a_head() {
        let identity = Arc::new(IdentityKey::from_seed(&Secret32::from([1; 32])));
        let key = identity.public();
        let budget = Budget {
            epsilon: Epsilon::new(1.0).unwrap(),
            delta: Delta::new(1e-5).unwrap(),
        };
        let (task, policy) = (TaskId::from([7; 16]), Policy::new(budget).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let server = "http://127.0.0.1:1";
        let config = JoinConfig::new(server, task, identity, key, policy, folder.path());
        let http = Http::new(&config).unwrap();
        let mut link = Link {
            http: &http,
            observer: &mut (),
            patience: Duration::ZERO,
        };
        let mut heads = Heads::open(folder.path(), task, None).unwrap();
        heads.check(None, &mut link).await.unwrap();
        let mut heads = Heads::open(folder.path(), task, Some(key)).unwrap();
        let refused = heads.check(None, &mut link).await;
        assert!(matches!(refused, Err(ClientError::Misbehaving(_))));
    }
}
