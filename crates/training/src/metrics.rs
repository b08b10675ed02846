//! How good a classifier is.

/// Figures over a labelled set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metrics {
    /// The share of examples whose highest score is their class, 0 to 1. Ties go to the lower
    /// class.
    pub accuracy: f64,
    /// The area under the ROC curve of class 1 against class 0, 0 to 1; `None` unless there are
    /// exactly two classes and examples of both.
    pub auc: Option<f64>,
    /// Mean cross-entropy in nats.
    pub loss: f64,
}

impl Metrics {
    /// From the scores of each example, one a class, and its class.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub(crate) fn of(scores: &[Vec<f32>], labels: &[u32]) -> Self {
        let examples = scores.iter().zip(labels);
        let (mut hits, mut loss) = (0_usize, 0.0);
        for (row, label) in examples.clone() {
            let label = usize::try_from(*label).unwrap_or(usize::MAX);
            let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            hits += usize::from(row.iter().position(|x| *x >= best) == Some(label));
            let best = f64::from(best);
            let total: f64 = row.iter().map(|x| (f64::from(*x) - best).exp()).sum();
            loss += total.ln() + best - row.get(label).map_or(f64::NEG_INFINITY, |x| f64::from(*x));
        }
        let margins: Option<Vec<(f64, bool)>> = examples
            .map(|(row, label)| match row.as_slice() {
                [ham, spam] => Some((f64::from(*spam) - f64::from(*ham), *label == 1)),
                _ => None,
            })
            .collect();
        let n = labels.len().max(1) as f64;
        Self {
            accuracy: hits as f64 / n,
            auc: margins.and_then(auc),
            loss: loss / n,
        }
    }
}

/// The Mann-Whitney statistic: the probability that a positive scores above a negative, ties
/// counting half.
#[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn auc(mut scored: Vec<(f64, bool)>) -> Option<f64> {
    scored.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut wins) = (0.0, 0.0);
    for tied in scored.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let positives = tied.iter().filter(|(_, positive)| *positive).count() as f64;
        let negatives = tied.len() as f64 - positives;
        wins += positives * (below + 0.5 * negatives);
        below += negatives;
    }
    let positives = scored.len() as f64 - below;
    (positives > 0.0 && below > 0.0).then(|| wins / (positives * below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auc_counts_pairs_and_halves_ties() {
        let scored = vec![
            (0.1, false),
            (0.4, true),
            (0.4, false),
            (0.9, true),
            (0.2, true),
        ];
        // Pairs (positive, negative): 0.4 beats 0.1, ties 0.4; 0.9 beats both; 0.2 beats 0.1.
        assert_eq!(auc(scored), Some(4.5 / 6.0));
        assert_eq!(auc(vec![(0.0, true), (1.0, true)]), None);
        assert_eq!(auc(vec![(0.0, true), (0.0, false)]), Some(0.5));
    }

    #[test]
    fn accuracy_and_loss_by_hand() {
        let scores = vec![
            vec![0.0, 3.0_f32.ln()],
            vec![3.0_f32.ln(), 0.0],
            vec![0.0, 0.0],
        ];
        let metrics = Metrics::of(&scores, &[1, 1, 0]);
        assert!((metrics.accuracy - 2.0 / 3.0).abs() < 1e-12);
        let expected = (-(0.75_f64.ln()) - 0.25_f64.ln() - 0.5_f64.ln()) / 3.0;
        assert!((metrics.loss - expected).abs() < 1e-6);
        assert_eq!(Metrics::of(&[vec![0.0; 3]], &[0]).auc, None);
    }
}
