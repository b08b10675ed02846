//! Mail files to labelled text.

use std::path::Path;

use mail_parser::MessageParser;

use crate::error::{Result, TrainingError};

/// Bytes of text kept of a mail; the model reads far less.
const MAX_TEXT: usize = 32 * 1024;

/// One mail as the model sees it, and where it comes from.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// The corpus folder, such as `easy-ham-1`; `spam` in its name makes a mail spam.
    pub folder: String,
    /// The file name inside the folder.
    pub file: String,
    /// Seconds since 1970 from the `Date` header, if it can be read.
    pub date: Option<i64>,
    /// Whether the mail is spam.
    pub spam: bool,
    /// Subject and body as text.
    pub text: String,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text is somebody's mail and stays out of logs.
        f.debug_struct("Mail")
            .field("folder", &self.folder)
            .field("file", &self.file)
            .field("spam", &self.spam)
            .finish_non_exhaustive()
    }
}

impl Mail {
    /// The class: 1 for spam, 0 for ham.
    pub fn label(&self) -> u32 {
        u32::from(self.spam)
    }
}

/// Decodes a mail: its subject and all text of its body, HTML reduced to text, white space
/// collapsed, and the date. Other headers are left out, as they name lists and relays and would
/// give the class away. A leading mbox `From ` line is skipped.
///
/// Returns `None` if the bytes are no mail or hold no text.
pub fn parse_mail(raw: &[u8]) -> Option<(String, Option<i64>)> {
    let raw = match raw.strip_prefix(b"From ") {
        Some(rest) => &rest[rest.iter().position(|b| *b == b'\n')? + 1..],
        None => raw,
    };
    let message = MessageParser::default().parse(raw)?;
    let subject = message.subject().unwrap_or_default();
    let bodies = (0..message.text_body_count()).filter_map(|i| message.body_text(i));
    let mut text = String::new();
    for part in std::iter::once(subject.into()).chain(bodies) {
        for word in part.split(|c: char| c.is_whitespace() || c.is_control()) {
            if !word.is_empty() && text.len() + word.len() < MAX_TEXT {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
    }
    let date = message.date().map(mail_parser::DateTime::to_timestamp);
    (!text.is_empty()).then_some((text, date))
}

/// Reads `root/<folder>/*.txt` in the order of folder and file name. Files without text are left
/// out.
///
/// # Errors
/// [`TrainingError::File`] if a folder or file cannot be read, [`TrainingError::NoData`] if there
/// is no mail.
pub fn read_corpus(root: &Path) -> Result<Vec<Mail>> {
    let mut mails = Vec::new();
    for folder in names(root)? {
        let path = root.join(&folder);
        if !path.is_dir() {
            continue;
        }
        for file in names(&path)? {
            if Path::new(&file).extension().is_none_or(|e| e != "txt") {
                continue;
            }
            let path = path.join(&file);
            let raw = std::fs::read(&path).map_err(TrainingError::file(&path))?;
            if let Some((text, date)) = parse_mail(&raw) {
                let spam = folder.contains("spam");
                mails.push(Mail {
                    folder: folder.clone(),
                    file,
                    date,
                    spam,
                    text,
                });
            }
        }
    }
    if mails.is_empty() {
        let message = format!(
            "no mail under {}; run scripts/fetch-demo-data.sh",
            root.display()
        );
        return Err(TrainingError::NoData(message));
    }
    Ok(mails)
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(TrainingError::file(folder))?;
    let mut names = entries
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(TrainingError::file(folder))?;
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_mime_and_keeps_subject_and_text_only() {
        let raw = b"From sender@example.org  Thu Aug 22 12:36:23 2002\n\
            Received: from secret-relay.example.org\n\
            List-Id: giveaway\n\
            Date: Thu, 22 Aug 2002 18:26:25 +0700\n\
            Subject: =?iso-8859-1?Q?caf=E9?= offer\n\
            MIME-Version: 1.0\n\
            Content-Type: text/html; charset=utf-8\n\
            Content-Transfer-Encoding: quoted-printable\n\n\
            <html><style>p {}</style><p>Buy =3D <b>now</b></p></html>\n";
        let (text, date) = parse_mail(raw).unwrap();
        assert_eq!(text, "caf\u{e9} offer Buy = now");
        assert_eq!(date, Some(1_030_015_585));
    }

    #[test]
    fn a_mail_without_text_is_nothing() {
        assert_eq!(parse_mail(b"Received: x\n\n\n"), None);
        assert_eq!(parse_mail(b""), None);
    }

    #[test]
    fn folders_give_the_class() {
        let root = tempfile::tempdir().unwrap();
        for (folder, text) in [("spam-1", "win"), ("easy-ham-1", "hello")] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
            let path = root.path().join(folder).join("1.txt");
            std::fs::write(path, format!("Subject: {text}\n\nbody\n")).unwrap();
        }
        let mails = read_corpus(root.path()).unwrap();
        let seen: Vec<_> = mails.iter().map(|m| (m.text.as_str(), m.label())).collect();
        assert_eq!(seen, [("hello body", 0), ("win body", 1)]);
    }
}
