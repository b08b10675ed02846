//! Text to token ids.

use std::path::Path;

use tokenizers::Tokenizer;

use crate::error::{Result, TrainingError};

/// No word piece is longer than this many bytes in the vocabularies in use; text beyond
/// `sequence_length` times this is not worth tokenizing.
const BYTES_PER_TOKEN: usize = 64;

/// Turns texts into token ids of bounded length.
#[derive(Clone, Debug)]
pub struct TextTokenizer {
    tokenizer: Tokenizer,
}

impl TextTokenizer {
    /// Reads a `tokenizer.json`; truncation and padding set in the file are ignored.
    ///
    /// # Errors
    /// [`TrainingError::Tokenizer`] if the file is missing or malformed.
    pub fn load(path: &Path) -> Result<Self> {
        let tokenizer = Tokenizer::from_file(path)
            .map_err(|e| TrainingError::Tokenizer(format!("{}: {e}", path.display())))?;
        Self::new(tokenizer)
    }

    /// Takes a tokenizer built elsewhere.
    ///
    /// # Errors
    /// [`TrainingError::Tokenizer`].
    pub fn new(mut tokenizer: Tokenizer) -> Result<Self> {
        tokenizer.with_padding(None);
        tokenizer
            .with_truncation(None)
            .map_err(|e| TrainingError::Tokenizer(e.to_string()))?;
        Ok(Self { tokenizer })
    }

    /// Token ids of each text, special tokens included, at most `sequence_length` a text. A longer
    /// text keeps its first tokens and its final special token.
    ///
    /// # Errors
    /// [`TrainingError::Tokenizer`].
    pub fn encode<S: AsRef<str>>(
        &self,
        texts: &[S],
        sequence_length: usize,
    ) -> Result<Vec<Vec<u32>>> {
        let mut tokenizer = self.tokenizer.clone();
        let truncation = tokenizers::TruncationParams {
            max_length: sequence_length,
            ..tokenizers::TruncationParams::default()
        };
        tokenizer
            .with_truncation(Some(truncation))
            .map_err(|e| TrainingError::Tokenizer(e.to_string()))?;
        let starts: Vec<&str> = texts
            .iter()
            .map(|t| start(t.as_ref(), sequence_length * BYTES_PER_TOKEN))
            .collect();
        let encodings = tokenizer
            .encode_batch_fast(starts, true)
            .map_err(|e| TrainingError::Tokenizer(e.to_string()))?;
        Ok(encodings.iter().map(|e| e.get_ids().to_vec()).collect())
    }
}

/// The longest prefix of at most `bytes` bytes that ends between characters.
fn start(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn encodes_truncates_and_keeps_the_special_tokens() {
        let tokenizer = fixture::tokenizer().unwrap();
        let texts = ["w1 w2 w3", "w1 w1 w1 w1 w1 w1 w1 w1 w1 w1"];
        let ids = tokenizer.encode(&texts, 6).unwrap();
        assert_eq!(ids[0].len(), 5);
        assert_eq!(ids[1].len(), 6);
        for row in &ids {
            assert_eq!(row[0], ids[0][0], "starts with [CLS]");
            assert_eq!(row.last(), ids[0].last(), "ends with [SEP]");
        }
    }

    #[test]
    fn cutting_respects_characters() {
        assert_eq!(start("aé", 2), "a");
        assert_eq!(start("aé", 3), "aé");
        assert_eq!(start("a", 9), "a");
    }
}
