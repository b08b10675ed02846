//! What a client adds to its gradients, and SCAFFOLD's control variates.
//!
//! Both come after clipping and noise. They depend on the data through what DP-SGD has already
//! made private (the values after earlier steps) and through what everyone has been handed (the
//! adapter), so they are post-processing and cost no privacy. Before clipping they would take part
//! of the clip norm from the data's gradient.

use crate::error::{FederatedError, same_length};

/// `FedProx` (Li et al., `MLSys` 2020): adds the gradient of `mu / 2 |w - global|^2`, which is
/// `mu (w - global)`; all `[d]`.
///
/// # Errors
/// [`FederatedError::Length`].
pub fn add_proximal(
    gradient: &mut [f64],
    values: &[f32],
    global: &[f32],
    mu: f64,
) -> Result<(), FederatedError> {
    same_length(gradient.len(), values.len())?;
    same_length(gradient.len(), global.len())?;
    for ((gradient, value), global) in gradient.iter_mut().zip(values).zip(global) {
        *gradient += mu * (f64::from(*value) - f64::from(*global));
    }
    Ok(())
}

/// SCAFFOLD's correction of a gradient: adds `c - c_i`, all `[d]` (Karimireddy et al., ICML 2020,
/// algorithm 1, line 10).
///
/// # Errors
/// [`FederatedError::Length`].
pub fn add_control(
    gradient: &mut [f64],
    global: &[f32],
    own: &[f32],
) -> Result<(), FederatedError> {
    same_length(gradient.len(), global.len())?;
    same_length(gradient.len(), own.len())?;
    for ((gradient, global), own) in gradient.iter_mut().zip(global).zip(own) {
        *gradient += f64::from(*global) - f64::from(*own);
    }
    Ok(())
}

/// A client's control variate after its steps, by option II: `c_i - c + (x - y) / (K rate)`, where
/// `delta` is `y - x` after K steps of plain SGD; all `[d]` (ibid., line 12).
///
/// It is the mean of the K gradients that the client stepped by, before the correction.
///
/// # Errors
/// [`FederatedError::Length`]; [`FederatedError::Setting`] without a step or a positive rate.
pub fn next_control(
    own: &[f32],
    global: &[f32],
    delta: &[f32],
    (steps, rate): (u32, f64),
) -> Result<Vec<f32>, FederatedError> {
    same_length(own.len(), global.len())?;
    same_length(own.len(), delta.len())?;
    let distance = f64::from(steps) * rate;
    if !(distance.is_finite() && distance > 0.0) {
        return Err(FederatedError::Setting {
            name: "local_steps x learning_rate",
            value: distance,
            range: "above 0",
        });
    }
    let values = own.iter().zip(global).zip(delta);
    let next = values.map(|((own, global), delta)| {
        f64::from(*own) - f64::from(*global) - f64::from(*delta) / distance
    });
    Ok(next.map(crate::optimizer::narrow).collect())
}

#[cfg(test)]
#[allow(clippy::float_cmp, reason = "small dyadic numbers are exact")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn proximal_term_by_hand() {
        // 3 + 0.5 (2 - 1), 0 + 0.5 (-1 - 1).
        let mut gradient = [3.0, 0.0];
        add_proximal(&mut gradient, &[2.0, -1.0], &[1.0, 1.0], 0.5).unwrap();
        assert_eq!(gradient, [3.5, -1.0]);
        assert!(add_proximal(&mut gradient, &[2.0], &[1.0, 1.0], 0.5).is_err());
    }

    /// x = 0, rate 1/2, two steps with gradients 1 and 3, c = 1/2, `c_i` = 1/4: y = -1/2 (1.25) - 1/2
    /// (3.25) = -2.25, and `c_i'` = 1/4 - 1/2 + 2.25 / (2 x 1/2) = 2, the mean of the gradients.
    #[test]
    fn control_variates_by_hand() {
        let (global, own) = ([0.5], [0.25]);
        let mut y = 0.0;
        for gradient in [1.0, 3.0] {
            let mut corrected = [gradient];
            add_control(&mut corrected, &global, &own).unwrap();
            y -= 0.5 * corrected[0];
        }
        assert_eq!(y, -2.25);
        assert_eq!(
            next_control(&own, &global, &[-2.25], (2, 0.5)).unwrap(),
            [2.0]
        );
        assert!(next_control(&own, &global, &[-2.25], (0, 0.5)).is_err());
    }

    proptest! {
        #[test]
        fn the_next_control_is_the_mean_gradient(
            gradients in proptest::collection::vec(-2.0..2.0_f64, 1..10), own in -1.0..1.0_f32, global in -1.0..1.0_f32, rate in 0.01..2.0_f64,
        ) {
            let mut y = 0.0;
            for gradient in &gradients {
                let mut corrected = [*gradient];
                add_control(&mut corrected, &[global], &[own]).unwrap();
                y -= rate * corrected[0];
            }
            let steps = u32::try_from(gradients.len()).unwrap();
            let delta = crate::optimizer::narrow(y);
            let next = next_control(&[own], &[global], &[delta], (steps, rate)).unwrap()[0];
            let mean = gradients.iter().sum::<f64>() / f64::from(steps);
            prop_assert!((f64::from(next) - mean).abs() < 1e-4, "{} {}", next, mean);
        }
    }
}
