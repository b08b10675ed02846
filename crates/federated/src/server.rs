//! The whole step of a server: from the mean of a round to the next adapter.

use serde::{Deserialize, Serialize};

use crate::clip;
use crate::error::{FederatedError, same_length};
use crate::layout::{Layout, Role};
use crate::optimizer::{Moments, ServerOptimizer, narrow};

/// How many clients a round had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// Clients whose vectors are in the sum, at least 1.
    pub survivors: u32,
    /// Clients that there are at all: the roster.
    pub clients: u32,
}

/// What a server keeps between rounds besides the adapter: the moments of the model's coordinates.
pub type ServerState = Moments;

impl ServerOptimizer {
    /// The state before the first round.
    pub fn first_state(&self, layout: &Layout) -> ServerState {
        self.start(layout.model_len())
    }

    /// The next adapter, `[d]`, from the one before and the mean of the survivors' vectors.
    ///
    /// Each coordinate by its role: the model's moves by the optimiser, with the mean divided by
    /// the mean weight where there is one; SCAFFOLD's c by (survivors / clients) times its mean
    /// (Karimireddy et al., ICML 2020, algorithm 1, line 17); the weight stays 0. A mean weight
    /// that is not above 0 says that nobody counted: the model then stays as it is. Where clients
    /// clip to a norm of the adapter ([`crate::clip`]), updates come in its units, and it moves.
    ///
    /// # Errors
    /// [`FederatedError::Length`], or [`FederatedError::NotFinite`] if a result is not finite;
    /// `state` is then as it was.
    pub fn next(
        &self,
        layout: &Layout,
        before: &[f32],
        mean: &[f64],
        state: &mut ServerState,
        cohort: Cohort,
    ) -> Result<Vec<f32>, FederatedError> {
        same_length(layout.len(), before.len())?;
        same_length(layout.len(), mean.len())?;
        let mut after = before.to_vec();
        let mut moved = state.clone();
        let weight = match layout.weight() {
            Some(place) => mean.get(place).copied().unwrap_or(0.0),
            None => 1.0,
        };
        if weight > 0.0 {
            let mut values = layout.gather(before, Role::Model);
            let mut update = layout.gather(mean, Role::Model);
            if layout.weight().is_some() {
                for value in &mut update {
                    *value /= weight;
                }
            }
            if let Some(clip) = layout.clip().and_then(|range| before.get(range.start)) {
                let unit = f64::from(*clip);
                for value in &mut update {
                    *value *= unit;
                }
            }
            self.step(&mut values, &update, &mut moved)?;
            layout.scatter(&mut after, Role::Model, &values);
        }
        let part = f64::from(cohort.survivors) / f64::from(cohort.clients.max(1));
        for range in layout.ranges(Role::Control) {
            let means = mean.get(range.clone()).unwrap_or_default();
            let control = after.get_mut(range).unwrap_or_default();
            for (control, mean) in control.iter_mut().zip(means) {
                *control = narrow(f64::from(*control) + part * mean);
            }
        }
        if let Some(range) = layout.clip() {
            let bits = mean.get(range.start).copied().unwrap_or(0.0);
            let tensor = before.get(range.clone()).unwrap_or_default();
            if let (Some(place), Some(next)) =
                (after.get_mut(range.start), clip::next(tensor, bits))
            {
                *place = next;
            }
        }
        let kept = moved.first.iter().chain(&moved.second);
        if !after.iter().chain(kept).all(|value| value.is_finite()) {
            return Err(FederatedError::NotFinite("the next adapter"));
        }
        *state = moved;
        Ok(after)
    }
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "the weight is exactly 0")]
mod tests {
    use super::*;
    use crate::optimizer::Adaptive;
    use proptest::prelude::*;

    const FED_AVG: ServerOptimizer = ServerOptimizer::FedAvg { learning_rate: 1.0 };
    const COHORT: Cohort = Cohort {
        survivors: 2,
        clients: 4,
    };

    /// Two of four clients. Model (1, 2), mean update (0.5, -1); c = (0.25, 0), mean (1, -2), so c
    /// moves by half of that; weight 0.5, so the update counts twice.
    #[test]
    fn each_coordinate_by_its_role() {
        let layout = Layout::of([
            ("a", [2].as_slice()),
            ("undertone.control.a", &[2]),
            ("undertone.weight", &[1]),
        ])
        .unwrap();
        let before = [1.0, 2.0, 0.25, 0.0, 0.0];
        let mean = [0.5, -1.0, 1.0, -2.0, 0.5];
        let after = FED_AVG.next(&layout, &before, &mean, &mut Moments::default(), COHORT);
        assert_eq!(after.unwrap(), [2.0, 0.0, 0.75, -1.0, 0.0]);
        // Nobody counted: the model stays, the control variates are not weighted and move.
        let mean = [0.5, -1.0, 1.0, -2.0, 0.0];
        let after = FED_AVG.next(&layout, &before, &mean, &mut Moments::default(), COHORT);
        assert_eq!(after.unwrap(), [1.0, 2.0, 0.75, -1.0, 0.0]);
    }

    /// C = 2: a mean update of 0.25 in its units is 0.5. Four of five within, at w = 0.5 a mean of
    /// 0.15, against a target of 0.5 with a step of 0.25: the factor is exp(-0.075).
    #[test]
    fn updates_in_units_of_the_clip_norm_and_the_norm_itself() {
        let layout = Layout::of([("a", [1].as_slice()), ("undertone.clip", &[4])]).unwrap();
        let before = [1.0, 2.0, 0.5, 0.25, 0.5];
        // Noise on the coordinates of the rule changes nothing.
        let mean = [0.25, 0.15, 3.0, -3.0, 7.0];
        let after = FED_AVG.next(&layout, &before, &mean, &mut Moments::default(), COHORT);
        let after = after.unwrap();
        assert_eq!((after[0], &after[2..]), (1.5, [0.5, 0.25, 0.5].as_slice()));
        assert!((f64::from(after[1]) - 2.0 * (-0.075_f64).exp()).abs() < 1e-6);
    }

    #[test]
    fn a_result_that_is_not_finite_changes_nothing() {
        let layout = Layout::of([("a", [1].as_slice())]).unwrap();
        let adam = ServerOptimizer::FedAdam(Adaptive::new(0.1));
        let mut state = adam.first_state(&layout);
        let start = state.clone();
        let refused = adam.next(&layout, &[0.0], &[1e30], &mut state, COHORT);
        assert_eq!(refused, Err(FederatedError::NotFinite("the next adapter")));
        assert_eq!(state, start);
        adam.next(&layout, &[0.0], &[1.0], &mut state, COHORT)
            .unwrap();
        assert_ne!(state, start);
    }

    proptest! {
        #[test]
        fn averaging_equal_updates_is_the_update(
            before in proptest::collection::vec(-4.0..4.0_f32, 5), update in proptest::collection::vec(-1.0..1.0_f32, 5), clients in 1_u32..50,
        ) {
            let layout = Layout::of([("a", [5].as_slice())]).unwrap();
            let mean: Vec<f64> = update.iter().map(|u| f64::from(clients) * f64::from(*u) / f64::from(clients)).collect();
            let cohort = Cohort { survivors: clients, clients };
            let after = FED_AVG.next(&layout, &before, &mean, &mut Moments::default(), cohort).unwrap();
            for ((after, before), update) in after.iter().zip(&before).zip(&update) {
                prop_assert!((after - (before + update)).abs() < 1e-6);
            }
        }

        #[test]
        fn hidden_weights_give_the_weighted_mean(
            clients in proptest::collection::vec((0.01..1.0_f64, proptest::array::uniform4(-1.0..1.0_f64)), 1..20),
        ) {
            let layout = Layout::of([("a", [4].as_slice()), ("undertone.weight", &[1])]).unwrap();
            let count = f64::from(u32::try_from(clients.len()).unwrap());
            let mut mean = [0.0; 5];
            for (weight, x) in &clients {
                for (mean, x) in mean.iter_mut().zip(x.iter().chain([&1.0])) {
                    *mean += weight * x / count;
                }
            }
            let total: f64 = clients.iter().map(|(weight, _)| weight).sum();
            let after = FED_AVG.next(&layout, &[0.0; 5], &mean, &mut Moments::default(), COHORT).unwrap();
            for (i, after) in after.iter().take(4).enumerate() {
                let plain = clients.iter().map(|(weight, x)| weight * x[i]).sum::<f64>() / total;
                prop_assert!((f64::from(*after) - plain).abs() < 1e-6);
            }
            prop_assert_eq!(after[4], 0.0);
        }
    }
}
