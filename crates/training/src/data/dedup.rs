//! Near-duplicate removal by `MinHash` (Broder 1997) and exact comparison of candidates.
//!
//! Two texts are near-duplicates if the sets of their 3-word shingles have a Jaccard similarity of
//! at least 0.7, taken over the whole texts or over their first 64 words (what the model sees
//! of them). Words are lower-cased runs of letters; digits and signs are dropped, so counters,
//! prices and tracking codes do not make a text new. Banded `MinHash` finds candidate pairs, 64
//! hash values in 16 bands of 4: a pair at similarity 0.7 is a candidate with probability 0.988, at
//! 0.8 with 0.9998. Candidates are compared exactly, and of each connected group the first
//! text is kept.

use std::collections::{BTreeMap, BTreeSet};

const SHINGLE_WORDS: usize = 3;
const LEAD_WORDS: usize = 64;
const BANDS: usize = 16;
const BAND_ROWS: usize = 4;
/// Jaccard similarity from which two texts count as near-duplicates, as a fraction.
const SIMILAR: (usize, usize) = (7, 10);

/// The indices of the texts that remain, in increasing order: the first of each group of
/// near-duplicates. The outcome depends on the texts and their order alone.
pub fn without_near_duplicates<S: AsRef<str>>(texts: &[S]) -> Vec<usize> {
    let words: Vec<Vec<u64>> = texts.iter().map(|t| words(t.as_ref())).collect();
    let mut groups = Groups((0..texts.len()).collect());
    for limit in [usize::MAX, LEAD_WORDS] {
        let sets: Vec<BTreeSet<u64>> = words
            .iter()
            .map(|w| shingles(&w[..w.len().min(limit)]))
            .collect();
        for (a, b) in candidates(&sets) {
            if groups.find(a) != groups.find(b) && similar(&sets[a], &sets[b]) {
                groups.join(a, b);
            }
        }
    }
    (0..texts.len()).filter(|&i| groups.find(i) == i).collect()
}

/// A union-find forest whose roots are the smallest members.
struct Groups(Vec<usize>);

impl Groups {
    fn find(&mut self, mut i: usize) -> usize {
        while self.0[i] != i {
            self.0[i] = self.0[self.0[i]];
            i = self.0[i];
        }
        i
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// FNV-1a, so that the outcome does not depend on the standard library's hasher.
fn fnv(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finaliser of `SplitMix64`: one of a family of hash functions, chosen by `seed`.
fn mix(x: u64, seed: u64) -> u64 {
    let x = x.wrapping_add(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes of the words of a text.
fn words(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_alphabetic())
        .filter(|w| !w.is_empty())
        .map(|w| fnv(w.to_lowercase().bytes()))
        .collect()
}

/// The set of shingles; a text shorter than one shingle is one as a whole.
fn shingles(words: &[u64]) -> BTreeSet<u64> {
    words
        .windows(SHINGLE_WORDS.min(words.len()).max(1))
        .map(|w| fnv(w.iter().flat_map(|x| x.to_le_bytes())))
        .collect()
}

/// Whether two sets have at least the similarity [`SIMILAR`]. Two empty sets do.
fn similar(a: &BTreeSet<u64>, b: &BTreeSet<u64>) -> bool {
    let common = a.intersection(b).count();
    let union = a.len() + b.len() - common;
    common * SIMILAR.1 >= union * SIMILAR.0
}

/// Pairs whose sketches agree in at least one band: each member with the first of its bucket and
/// with its predecessor.
fn candidates(sets: &[BTreeSet<u64>]) -> BTreeSet<(usize, usize)> {
    let mut buckets: BTreeMap<(usize, u64), Vec<usize>> = BTreeMap::new();
    for (i, set) in sets.iter().enumerate() {
        for band in 0..BANDS {
            let rows = (0..BAND_ROWS).map(|row| {
                let seed = (band * BAND_ROWS + row + 1) as u64;
                set.iter().map(|x| mix(*x, seed)).min().unwrap_or(0)
            });
            let key = fnv(rows.flat_map(u64::to_le_bytes));
            buckets.entry((band, key)).or_default().push(i);
        }
    }
    buckets
        .values()
        .flat_map(|bucket| {
            let first = bucket[0];
            let neighbours = bucket.windows(2).map(|w| (w[0], w[1]));
            bucket[1..]
                .iter()
                .map(move |&i| (first, i))
                .chain(neighbours)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(tag: &str) -> String {
        (0..60_u8)
            .map(|i| {
                format!(
                    "{tag}{}{}",
                    char::from(b'a' + i % 26),
                    char::from(b'a' + i / 26)
                )
            })
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn near_copies_go_and_different_texts_stay() {
        let base = long("x");
        let copy = format!("RE: 12345 {}!", base.to_uppercase());
        let reply = format!("{base} thanks");
        let texts = [base.clone(), long("y"), copy, reply, long("z")];
        assert_eq!(without_near_duplicates(&texts), [0, 1, 4]);
    }

    #[test]
    fn the_same_lead_is_enough() {
        let lead = format!("{} {}", long("x"), long("w"));
        let a = format!("{lead} {} {}", long("y"), long("q"));
        let b = format!("{lead} {} {}", long("z"), long("r"));
        assert_eq!(without_near_duplicates(&[a, b]), [0]);
    }

    #[test]
    fn short_and_empty_texts() {
        let texts = [
            "",
            "hello there",
            "hello THERE 7",
            "hello",
            "123",
            "other words",
        ];
        assert_eq!(without_near_duplicates(&texts), [0, 1, 3, 5]);
        assert!(without_near_duplicates::<&str>(&[]).is_empty());
    }
}
