//! How much an attack proves: a lower bound on ε from how often it was right.
//!
//! A mechanism that is (ε, δ)-differentially private lets no test of "is this record in the data?"
//! have a rate of true positives above e^ε times its rate of false positives, plus δ (Kairouz, Oh,
//! Viswanath 2015). So rates that were measured disprove every smaller ε, up to chance, which is
//! bounded here exactly by Clopper and Pearson's intervals. The attack's threshold must have been
//! fixed before the counted trials, and these must be independent.

use crate::error::PrivacyError;
use crate::units::Delta;

/// How often an attack said yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trials {
    /// Trials with the record, 1 or more.
    pub with: u64,
    /// In how many of them the attack said that it was there.
    pub true_positives: u64,
    /// Trials without the record, 1 or more.
    pub without: u64,
    /// In how many of them the attack said that it was there.
    pub false_positives: u64,
}

impl Trials {
    /// The ε that these trials disprove all smaller ones of, at `delta`: the true ε is below it with
    /// a probability of at most 1 - `confidence`, over the trials. 0 or more.
    ///
    /// Positive and negative answers are each a test; the better one counts, and the four rates share
    /// what chance is left (Bonferroni).
    ///
    /// # Errors
    /// There were no trials, more hits than trials, or `confidence` is not between 0 and 1.
    pub fn epsilon_lower_bound(&self, delta: Delta, confidence: f64) -> Result<f64, PrivacyError> {
        let refuse = |name: &'static str, value: f64, range: &'static str| {
            Err(PrivacyError::OutOfRange { name, value, range })
        };
        if !(confidence > 0.0 && confidence < 1.0) {
            return refuse("confidence", confidence, "between 0 and 1, 0.95 say");
        }
        let counts = [
            (self.true_positives, self.with),
            (self.false_positives, self.without),
        ];
        for (hits, trials) in counts {
            if trials == 0 || hits > trials {
                #[expect(clippy::cast_precision_loss, reason = "shown in an error")]
                let shown = hits as f64;
                return refuse(
                    "hits of an attack",
                    shown,
                    "at most its trials, of which 1 or more",
                );
            }
        }
        let chance = (1.0 - confidence) / 4.0;
        let disproved = |hit: (u64, u64), false_alarm: (u64, u64)| {
            let least = lower_limit(hit.0, hit.1, chance) - delta.get();
            let most = 1.0 - lower_limit(false_alarm.1 - false_alarm.0, false_alarm.1, chance);
            if least > 0.0 {
                (least / most).ln()
            } else {
                0.0
            }
        };
        let [with, without] = counts;
        let misses = |(hits, trials): (u64, u64)| (trials - hits, trials);
        Ok(disproved(with, without)
            .max(disproved(misses(without), misses(with)))
            .max(0.0))
    }
}

/// Clopper and Pearson's lower limit: the largest p with P(Binomial(`trials`, p) ≥ `hits`) ≤ `chance`.
fn lower_limit(hits: u64, trials: u64, chance: f64) -> f64 {
    if hits == 0 {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if upper_tail(hits, trials, middle) <= chance {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// P(Binomial(`trials`, `p`) ≥ `hits`), summed up from `hits` on, for `hits` of 1 or more.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of trials are below 2^53"
)]
fn upper_tail(hits: u64, trials: u64, p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return if p >= 1.0 { 1.0 } else { 0.0 };
    }
    let (n, k) = (trials as f64, hits as f64);
    if k <= n * p {
        // Above half or close to it: never within a chance worth asking for.
        return 1.0;
    }
    let ln_choose = libm::lgamma(n + 1.0) - libm::lgamma(k + 1.0) - libm::lgamma(n - k + 1.0);
    let mut term = (ln_choose + k * p.ln() + (n - k) * (-p).ln_1p()).exp();
    let (mut sum, mut k) = (0.0, k);
    while k <= n && term > 1e-18 * sum {
        sum += term;
        term *= (n - k) / (k + 1.0) * p / (1.0 - p);
        k += 1.0;
    }
    sum
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use rand_core::SeedableRng;

    use super::*;
    use crate::accountant::gaussian;
    use crate::noise::GaussianSource;
    use crate::units::{Epsilon, NoiseMultiplier};

    fn delta() -> Delta {
        Delta::new(1e-5).unwrap()
    }

    #[test]
    fn limits_agree_with_tables() {
        // Clopper and Pearson 1934; scipy.stats.binomtest(k, n).proportion_ci(0.95).
        for (hits, trials, low) in [
            (1, 10, 0.002_528_578_544_461_785),
            (5, 10, 0.187_086_028_447_398_55),
            (10, 10, 0.691_502_892_181_239_2),
            (700, 1000, 0.670_538_321_302_634_9),
        ] {
            let ours = lower_limit(hits, trials, 0.025);
            assert!(
                (ours - low).abs() < 1e-9,
                "{hits} of {trials}: {ours} {low}"
            );
        }
        assert_eq!(lower_limit(0, 10, 0.025).to_bits(), 0);
    }

    /// Counts of the best attack there is on one Gaussian release: does a sum with noise `sigma` hold
    /// a record of norm 1?
    fn attack(sigma: f64, threshold: f64, trials: u64) -> Trials {
        let mut source = GaussianSource::new(ChaCha20Rng::from_seed([7; 32]));
        let mut count = |shift: f64| {
            let mut noise = vec![0.0; usize::try_from(trials).unwrap()];
            source.fill(&mut noise, sigma).unwrap();
            let said_yes = noise
                .iter()
                .filter(|noise| shift + f64::from(**noise) > threshold);
            u64::try_from(said_yes.count()).unwrap()
        };
        Trials {
            with: trials,
            true_positives: count(1.0),
            without: trials,
            false_positives: count(0.0),
        }
    }

    #[test]
    fn the_claim_is_never_below_what_an_attack_proves_and_not_far_above() {
        for sigma in [0.5, 1.0, 2.0] {
            let multiplier = NoiseMultiplier::new(sigma).unwrap();
            let claimed = gaussian::epsilon(multiplier, delta()).unwrap().get();
            let mut proved: f64 = 0.0;
            for threshold in [0.5, 1.0, 2.0] {
                let trials = attack(sigma, threshold * sigma.max(1.0), 20_000);
                let bound = trials.epsilon_lower_bound(delta(), 0.99).unwrap();
                assert!(bound <= claimed, "sigma {sigma}: {bound} {claimed}");
                proved = proved.max(bound);
            }
            println!("sigma {sigma}: claimed {claimed:.3}, proved {proved:.3}");
            assert!(proved > 0.25 * claimed, "sigma {sigma}: {proved} {claimed}");
        }
    }

    #[test]
    fn too_little_noise_is_found_out() {
        // Claimed for a noise multiplier of 4, with a quarter of that noise added.
        let multiplier = NoiseMultiplier::new(4.0).unwrap();
        let claimed = gaussian::epsilon(multiplier, delta()).unwrap().get();
        let bound = attack(1.0, 2.5, 20_000)
            .epsilon_lower_bound(delta(), 0.99)
            .unwrap();
        assert!(bound > claimed, "{bound} {claimed}");
    }

    #[test]
    fn an_attack_that_guesses_proves_nothing_and_nonsense_is_refused() {
        let guess = Trials {
            with: 1000,
            true_positives: 500,
            without: 1000,
            false_positives: 500,
        };
        assert_eq!(guess.epsilon_lower_bound(delta(), 0.95), Ok(0.0));
        let none = Trials {
            with: 0,
            true_positives: 0,
            ..guess
        };
        assert!(none.epsilon_lower_bound(delta(), 0.95).is_err());
        let more = Trials {
            true_positives: 1001,
            ..guess
        };
        assert!(more.epsilon_lower_bound(delta(), 0.95).is_err());
        assert!(guess.epsilon_lower_bound(delta(), 1.0).is_err());
        // A perfect attack is bounded by the number of its trials only.
        let perfect = Trials {
            true_positives: 1000,
            false_positives: 0,
            ..guess
        };
        let bound = perfect.epsilon_lower_bound(delta(), 0.95).unwrap();
        assert!(bound > 5.0 && bound < 6.0, "{bound}");
        assert!(Epsilon::new(bound).is_ok());
    }
}
