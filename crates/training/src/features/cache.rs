//! Features on disk, under a name that covers everything they depend on.

use std::io::Write;
use std::path::Path;

use half::f16;
use sha2::{Digest, Sha256};

use super::{Features, LabelledTokens, width};
use crate::error::{Result, TrainingError};
use crate::model::{Depth, Encoder};

impl LabelledTokens<'_> {
    /// A digest over everything the activations depend on.
    fn cache_key(&self, encoder: &Encoder, depth: Depth) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut number = |n: usize| hash.update(u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes());
        number(self.length);
        number(self.ids.len());
        number(match depth {
            Depth::Layer(layer) => layer,
            Depth::Pooled => usize::MAX,
        });
        for ids in self.ids {
            hash.update(u64::try_from(ids.len()).unwrap_or(u64::MAX).to_le_bytes());
            for id in ids {
                hash.update(id.to_le_bytes());
            }
        }
        hash.chain_update(b"undertone features v1")
            .chain_update(encoder.digest())
            .finalize()
            .into()
    }
}

impl Features {
    /// Like [`Features::compute`], but keeps the result in `folder` and reads it from there when
    /// model, texts, length and depth are the same.
    ///
    /// # Errors
    /// As for [`Features::compute`], and [`TrainingError::File`] if `folder` cannot be written.
    pub fn load_or_compute(
        folder: &Path,
        encoder: &Encoder,
        tokens: LabelledTokens<'_>,
        depth: Depth,
        progress: impl FnMut(usize, usize) + Send,
    ) -> Result<Self> {
        tokens.check()?;
        let key = tokens.cache_key(encoder, depth);
        let path = folder.join(format!("{}.f16", hex::encode(key)));
        let count = tokens.ids.len() * width(encoder, tokens.length, depth);
        if let Some(values) = read_values(&path, count) {
            return Ok(Self::assemble(encoder, tokens, depth, values));
        }
        let features = Self::compute(encoder, tokens, depth, progress)?;
        std::fs::create_dir_all(folder).map_err(TrainingError::file(folder))?;
        write_values(&path, &features.shared.values)?;
        Ok(features)
    }
}

/// The cached values, or nothing if the file is missing or of another size.
fn read_values(path: &Path, count: usize) -> Option<Vec<f16>> {
    let bytes = std::fs::read(path).ok()?;
    let (chunks, rest) = bytes.as_chunks::<2>();
    (chunks.len() == count && rest.is_empty())
        .then(|| chunks.iter().map(|c| f16::from_le_bytes(*c)).collect())
}

/// Writes next to the target and renames, so that a broken run leaves no half file.
fn write_values(path: &Path, values: &[f16]) -> Result<()> {
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let write = || {
        let mut file = std::io::BufWriter::new(std::fs::File::create(&partial)?);
        for chunk in values.chunks(1 << 16) {
            let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
            file.write_all(&bytes)?;
        }
        file.flush()?;
        std::fs::rename(&partial, path)
    };
    write().map_err(TrainingError::file(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn the_disk_cache_gives_back_what_was_computed() {
        let folder = tempfile::tempdir().unwrap();
        let encoder = fixture::encoder().unwrap();
        let (mut ids, labels) = fixture::examples(9, 5).unwrap();
        let load = |ids: &[Vec<u32>], calls: &mut usize| {
            let tokens = LabelledTokens {
                ids,
                labels: &labels,
                length: fixture::LENGTH,
            };
            Features::load_or_compute(folder.path(), &encoder, tokens, Depth::Layer(1), |_, _| {
                *calls += 1;
            })
            .unwrap()
        };
        let (mut first, mut second, mut third) = (0, 0, 0);
        let computed = load(&ids, &mut first);
        let cached = load(&ids, &mut second);
        assert_eq!(computed.shared.values, cached.shared.values);
        assert!(first > 0 && second == 0, "the second call reads the file");
        ids[0][1] += 1;
        load(&ids, &mut third);
        assert!(third > 0, "another text is another entry");
    }
}
