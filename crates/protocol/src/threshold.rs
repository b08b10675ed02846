//! The threshold rule of the complete graph, bounded by the roster and not by what the aggregator
//! announces.

/// The most corrupt clients that a complete graph of `n` clients is safe against:
/// c = floor((n - 1) / 3).
pub const fn tolerated_corruptions(n: u16) -> u16 {
    n.saturating_sub(1) / 3
}

/// The smallest threshold t with 2t > n + c, for directories of at most `n` clients out of a roster
/// of `roster`, c = [`tolerated_corruptions`] of the *roster*: the aggregator decides who gets into
/// the directory, so all corrupt members of the roster may stand in it.
///
/// Two sets of t clients then share at least one honest client, and an honest client signs one
/// statement and answers one Unmask: a lying aggregator cannot have two views accepted, nor
/// collect both secrets of anyone. Honest clients alone reach t, since n - c >= t for n >= 4.
pub const fn complete(n: u16, roster: u16) -> u16 {
    n.saturating_add(tolerated_corruptions(roster)) / 2 + 1
}

/// The fewest survivors whose sum may be unmasked: the threshold, and two honest clients, since a
/// sum over one honest client is its input.
pub const fn min_survivors(n: u16, roster: u16) -> u16 {
    let (threshold, honest) = (complete(n, roster), tolerated_corruptions(roster) + 2);
    if threshold > honest {
        threshold
    } else {
        honest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_values() {
        for (n, t) in [(10, 7), (50, 34), (100, 67), (255, 170)] {
            assert_eq!(complete(n, n), t, "n = {n}");
        }
    }

    #[test]
    fn the_rule_holds_and_is_tight() {
        for n in 4..=255 {
            let (t, c) = (complete(n, n), tolerated_corruptions(n));
            assert!(2 * t > n + c && 2 * (t - 1) <= n + c, "n = {n}");
            assert!(n - c >= t, "honest clients alone reach t at n = {n}");
            assert!(
                complete(n - 1, n) <= t,
                "a smaller directory never needs more"
            );
            assert!(min_survivors(n, n) == t.max(c + 2));
        }
    }
}
