//! The held-out split and the clients' unequal shares.

use sha2::{Digest, Sha256};

use super::Mail;
use crate::error::{Result, TrainingError};

/// Indices of the mails to train on and of those nobody trains on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// For training, in increasing order.
    pub train: Vec<usize>,
    /// For evaluation, in increasing order.
    pub held_out: Vec<usize>,
}

/// One client's mails.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientShare {
    /// Indices into the mails that were partitioned.
    pub rows: Vec<usize>,
    /// The share of spam among them, 0 to 1.
    pub spam_rate: f64,
    /// How many of them come from each corpus folder, by folder name.
    pub folders: std::collections::BTreeMap<String, usize>,
}

/// A number that depends on `seed` and the bytes alone.
fn rank(seed: u64, label: &str, bytes: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update(label.as_bytes())
        .chain_update(seed.to_le_bytes())
        .chain_update(bytes)
        .finalize()
        .into()
}

/// Holds out `per_mille` thousandths of each class, chosen by a hash of `seed` and text.
///
/// Remove near-duplicates before, or one of a pair may stand on each side.
pub fn hold_out(mails: &[Mail], per_mille: usize, seed: u64) -> HeldOut {
    let mut held_out = Vec::new();
    for spam in [false, true] {
        let mut class: Vec<usize> = (0..mails.len())
            .filter(|&i| mails[i].spam == spam)
            .collect();
        class.sort_by_cached_key(|&i| rank(seed, "held out", mails[i].text.as_bytes()));
        held_out.extend(&class[..class.len() * per_mille.min(1000) / 1000]);
    }
    held_out.sort_unstable();
    let train = (0..mails.len())
        .filter(|i| held_out.binary_search(i).is_err())
        .collect();
    HeldOut { train, held_out }
}

/// Deals the mails at `rows` to `clients` unequal clients.
///
/// Clients differ in three ways. Sizes spread by about 20 per cent around the mean. Spam rates
/// rise from about a quarter of the overall rate to about twice it. And ham as well as spam
/// is dealt in runs along folder and date, so a client sees one kind of list and one period.
/// Which client gets which spam rate and period follows from `seed`; the same input gives the same
/// shares.
///
/// # Errors
/// [`TrainingError::NoData`] if there are fewer than ten mails a client, or of one class none.
pub fn partition(
    mails: &[Mail],
    rows: &[usize],
    clients: usize,
    seed: u64,
) -> Result<Vec<ClientShare>> {
    // Weights of client i: its size, and its share of spam among all spam.
    let spread = |i: usize, low: f64, high: f64| {
        #[allow(clippy::cast_precision_loss, reason = "there are few clients")]
        let at = i as f64 / (clients.max(2) - 1) as f64;
        low + (high - low) * at
    };
    let spam = rows.iter().filter(|&&i| mails[i].spam).count();
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let overall = spam as f64 / rows.len().max(1) as f64;
    let (sizes, rates) = (order(clients, seed, "sizes"), order(clients, seed, "rates"));
    let wanted: Vec<Wanted> = (0..clients)
        .map(|i| Wanted {
            size: spread(sizes[i], 0.8, 1.2),
            spam_rate: (spread(rates[i], 0.25, 1.75) * overall).min(0.95),
        })
        .collect();
    deal_out(mails, rows, &wanted, seed)
}

/// What a client's share is to be like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wanted {
    /// Its size, in any unit that all shares have in common; above 0.
    pub size: f64,
    /// The rate of spam that it would have if there were enough: clients with twice the rate get
    /// twice the spam for their size. Above 0 and below 1.
    pub spam_rate: f64,
}

/// Clients' places in an order that follows from `seed` and `label`.
fn order(clients: usize, seed: u64, label: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..clients).collect();
    order.sort_by_cached_key(|i| rank(seed, label, &i.to_le_bytes()));
    order
}

/// Deals the mails at `rows` to clients that want such shares, ham as well as spam in runs along
/// folder and date; which client gets which period follows from `seed`.
///
/// # Errors
/// [`TrainingError::NoData`] if there are fewer than ten mails a client, or of one class none;
/// [`TrainingError::Config`] if a wish is out of range.
pub fn deal_out(
    mails: &[Mail],
    rows: &[usize],
    wanted: &[Wanted],
    seed: u64,
) -> Result<Vec<ClientShare>> {
    let clients = wanted.len();
    let class = |spam: bool| {
        let mut rows: Vec<usize> = rows
            .iter()
            .copied()
            .filter(|&i| mails[i].spam == spam)
            .collect();
        rows.sort_by_key(|&i| (&mails[i].folder, mails[i].date, &mails[i].file));
        rows
    };
    let (ham, spam) = (class(false), class(true));
    if clients == 0 || rows.len() < 10 * clients || ham.is_empty() || spam.is_empty() {
        return Err(TrainingError::NoData(format!(
            "{} ham and {} spam are too few for {clients} clients",
            ham.len(),
            spam.len()
        )));
    }
    let possible =
        |w: &Wanted| w.size.is_finite() && w.size > 0.0 && w.spam_rate > 0.0 && w.spam_rate < 1.0;
    if !wanted.iter().all(possible) {
        return Err(TrainingError::Config(
            "a share needs a size above 0 and a spam rate above 0 and below 1".to_owned(),
        ));
    }
    let spam_weights: Vec<f64> = wanted.iter().map(|w| w.size * w.spam_rate).collect();
    let ham_weights: Vec<f64> = wanted
        .iter()
        .map(|w| w.size * (1.0 - w.spam_rate))
        .collect();
    let mut shares = vec![Vec::new(); clients];
    deal(
        &ham,
        &ham_weights,
        &order(clients, seed, "ham"),
        &mut shares,
    );
    deal(
        &spam,
        &spam_weights,
        &order(clients, seed, "spam"),
        &mut shares,
    );
    Ok(shares
        .into_iter()
        .map(|rows| describe(mails, rows))
        .collect())
}

/// Cuts `rows` into runs proportional to the clients' weights, in the given order of clients.
fn deal(rows: &[usize], weights: &[f64], order: &[usize], shares: &mut [Vec<usize>]) {
    let total: f64 = weights.iter().sum();
    let (mut weight, mut start) = (0.0, 0);
    for (turn, &client) in order.iter().enumerate() {
        weight += weights[client];
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count"
        )]
        let end = (rows.len() as f64 * weight / total).round() as usize;
        let end = if turn + 1 == order.len() {
            rows.len()
        } else {
            end.min(rows.len())
        };
        shares[client].extend(&rows[start..end]);
        start = end;
    }
}

fn describe(mails: &[Mail], mut rows: Vec<usize>) -> ClientShare {
    rows.sort_unstable();
    let mut folders = std::collections::BTreeMap::new();
    for &i in &rows {
        *folders.entry(mails[i].folder.clone()).or_insert(0) += 1;
    }
    let spam = rows.iter().filter(|&&i| mails[i].spam).count();
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let spam_rate = spam as f64 / rows.len().max(1) as f64;
    ClientShare {
        rows,
        spam_rate,
        folders,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mails(ham: usize, spam: usize) -> Vec<Mail> {
        (0..ham + spam)
            .map(|i| Mail {
                folder: if i < ham {
                    format!("ham-{}", i % 3)
                } else {
                    "spam-1".to_owned()
                },
                file: format!("{i:05}.txt"),
                date: i64::try_from(i * 1000).ok(),
                spam: i >= ham,
                text: format!("mail {i}"),
            })
            .collect()
    }

    #[test]
    fn the_split_is_stratified_and_deterministic() {
        let mails = mails(700, 300);
        let split = hold_out(&mails, 150, 1);
        let spam = split.held_out.iter().filter(|&&i| mails[i].spam).count();
        assert_eq!(
            (split.held_out.len(), spam, split.train.len()),
            (150, 45, 850)
        );
        assert_eq!(split, hold_out(&mails, 150, 1));
        assert_ne!(split, hold_out(&mails, 150, 2));
    }

    #[test]
    fn spam_rates_spread_around_the_mean() {
        let mails = mails(3400, 1380);
        let rows: Vec<usize> = (0..mails.len()).collect();
        let shares = partition(&mails, &rows, 12, 7).unwrap();
        let rates: Vec<f64> = shares.iter().map(|s| s.spam_rate).collect();
        let low = rates.iter().copied().fold(1.0, f64::min);
        let high = rates.iter().copied().fold(0.0, f64::max);
        assert!(low < 0.12 && high > 0.42, "{rates:?}");
        assert!(shares.iter().all(|s| (280..=500).contains(&s.rows.len())));
        assert!(
            shares.iter().any(|s| s.folders.len() < 4),
            "runs keep folders together"
        );
    }

    proptest! {
        #[test]
        fn every_mail_goes_to_exactly_one_client(
            ham in 40_usize..400, spam in 30_usize..200, clients in 1_usize..7, seed: u64,
        ) {
            let mails = mails(ham, spam);
            let rows: Vec<usize> = (0..mails.len()).filter(|i| i % 7 != 0).collect();
            let shares = partition(&mails, &rows, clients, seed).unwrap();
            let mut dealt: Vec<usize> = shares.iter().flat_map(|s| s.rows.clone()).collect();
            dealt.sort_unstable();
            prop_assert_eq!(dealt, rows.clone());
            prop_assert_eq!(partition(&mails, &rows, clients, seed).unwrap(), shares);
        }
    }

    #[test]
    fn shares_are_as_wanted() {
        let mails = mails(700, 300);
        let rows: Vec<usize> = (0..mails.len()).collect();
        let wanted = |size, spam_rate| Wanted { size, spam_rate };
        // Spam in 1 : 9, ham in 9 : 1 for equal sizes.
        let shares = deal_out(&mails, &rows, &[wanted(1.0, 0.1), wanted(1.0, 0.9)], 3).unwrap();
        let spam = |share: &ClientShare| share.rows.iter().filter(|&&i| mails[i].spam).count();
        assert_eq!((spam(&shares[0]), spam(&shares[1])), (30, 270));
        assert_eq!((shares[0].rows.len(), shares[1].rows.len()), (660, 340));
        for broken in [
            wanted(0.0, 0.5),
            wanted(1.0, 0.0),
            wanted(1.0, 1.0),
            wanted(f64::NAN, 0.5),
        ] {
            assert!(deal_out(&mails, &rows, &[broken], 3).is_err(), "{broken:?}");
        }
    }

    #[test]
    fn too_little_mail_is_refused() {
        let mails = mails(50, 0);
        assert!(partition(&mails, &(0..50).collect::<Vec<_>>(), 2, 0).is_err());
    }
}
