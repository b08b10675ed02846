//! How vectors are written: byte strings in lower-case hexadecimal, ring elements as decimal text.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::ser::Formatter;

/// A file of vectors.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File<C> {
    /// What it holds.
    pub(crate) description: String,
    /// Which sections of the specification it is of.
    pub(crate) spec: String,
    /// The vectors.
    pub(crate) cases: Vec<C>,
}

/// The name and the text of one file.
pub(crate) fn file<C: Serialize + Clone>(
    name: &'static str,
    description: &str,
    spec: &str,
    cases: &[C],
) -> (&'static str, String) {
    let file = File {
        description: description.to_owned(),
        spec: spec.to_owned(),
        cases: cases.to_vec(),
    };
    let mut out = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(&mut out, Lines { depth: 0 });
    file.serialize(&mut writer).unwrap();
    out.push(b'\n');
    (name, String::from_utf8(out).unwrap())
}

/// Bytes as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl Hex {
    pub(crate) fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().to_vec())
    }

    /// The bytes, of which there are N.
    pub(crate) fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().unwrap()
    }
}

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex::encode(hex.0)
    }
}

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = hex::decode(&text).map_err(|e| e.to_string())?;
        if hex::encode(&bytes) == text {
            Ok(Self(bytes))
        } else {
            Err(format!("upper case in {text}"))
        }
    }
}

/// An integer beyond 2^53, which not every reader of JSON takes: decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Big(pub(crate) u64);

impl From<Big> for String {
    fn from(big: Big) -> Self {
        big.0.to_string()
    }
}

impl TryFrom<String> for Big {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse().map(Self)
    }
}

/// Ring elements as decimal text.
pub(crate) fn elements(elements: impl IntoIterator<Item = u64>) -> Vec<Big> {
    elements.into_iter().map(Big).collect()
}

/// Ring elements as numbers.
pub(crate) fn numbers(elements: &[Big]) -> Vec<u64> {
    elements.iter().map(|e| e.0).collect()
}

/// One line for each field of an object; lists of numbers and texts on one line.
struct Lines {
    depth: usize,
}

impl Lines {
    fn line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        write!(writer, "\n{:width$}", "", width = self.depth * 2)
    }
}

impl Formatter for Lines {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth += 1;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        self.line(writer)?;
        writer.write_all(b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b"," })?;
        self.line(writer)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}
