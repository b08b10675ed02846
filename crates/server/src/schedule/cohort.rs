//! Over-selection: how many clients to admit so that enough are left.

use super::PastRound;

/// The fraction of a directory that is expected to vanish before its input is in the sum: what was
/// seen, and what was assumed before anything was (`prior`, a fraction), which counts as one round
/// of `cohort` clients. 0 to 1.
pub fn expected_dropout(prior: f64, cohort: u32, past: &[PastRound]) -> f64 {
    let (mut clients, mut vanished) = (f64::from(cohort), f64::from(cohort) * prior);
    for round in past {
        // A round that failed earlier says nothing about who would have stayed.
        if let Some(survivors) = round.survivors {
            clients += f64::from(round.clients);
            vanished += f64::from(round.clients.saturating_sub(survivors));
        }
    }
    if clients > 0.0 {
        (vanished / clients).clamp(0.0, 1.0)
    } else {
        0.0
    }
}

/// How many clients to admit so that `wanted` are expected to be left when a fraction `dropout`
/// vanishes: at most `cohort`, which the round's parameters and the encoding's range are made for.
pub fn admitted(wanted: u32, dropout: f64, cohort: u32) -> u32 {
    (wanted..cohort)
        .find(|admitted| f64::from(*admitted) * (1.0 - dropout) >= f64::from(wanted))
        .unwrap_or(cohort)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round(clients: u32, survivors: Option<u32>) -> PastRound {
        PastRound {
            clients,
            survivors,
            phases: [None; 5],
        }
    }

    #[test]
    fn dropouts_are_learned() {
        assert!((expected_dropout(0.1, 100, &[]) - 0.1).abs() < 1e-12);
        // (10 + 30 + 30) / (100 + 100 + 100)
        let past = [round(100, Some(70)), round(100, Some(70)), round(40, None)];
        assert!((expected_dropout(0.1, 100, &past) - 70.0 / 300.0).abs() < 1e-12);
        assert!(expected_dropout(0.5, 0, &[]).abs() < 1e-12);
    }

    #[test]
    fn enough_are_admitted() {
        assert_eq!(admitted(90, 0.1, 120), 100);
        assert_eq!(admitted(90, 0.1, 95), 95);
        assert_eq!(admitted(90, 0.0, 120), 90);
        assert_eq!(admitted(90, 1.0, 120), 120);
    }

    proptest! {
        #[test]
        fn never_more_than_the_cohort_nor_fewer_than_needed(
            wanted in 1_u32..300, dropout in 0.0_f64..=1.0, cohort in 1_u32..300,
        ) {
            let admitted = admitted(wanted, dropout, cohort);
            prop_assert!(admitted <= cohort);
            let left = f64::from(admitted) * (1.0 - dropout);
            prop_assert!(admitted == cohort || left >= f64::from(wanted));
            // One client fewer would not do.
            let fewer = f64::from(admitted.saturating_sub(1)) * (1.0 - dropout);
            prop_assert!(admitted == cohort || admitted == wanted || fewer < f64::from(wanted));
        }
    }
}
