//! Privacy parameters that are checked once, when they are made.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::error::PrivacyError;

/// Declares a checked `f64`: constructor, getter, `Display`, and serde that checks on the way in.
macro_rules! checked_f64 {
    ($(#[$doc:meta])* $name:ident, |$value:ident| $valid:expr, $range:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
        #[serde(try_from = "f64", into = "f64")]
        pub struct $name(f64);

        impl $name {
            #[doc = concat!("Checks `value`: ", $range, ".")]
            ///
            /// # Errors
            /// The value is outside that range, or not a number.
            pub fn new($value: f64) -> Result<Self, PrivacyError> {
                if $valid { Ok(Self($value)) } else { Err(PrivacyError::$name($value)) }
            }

            /// The plain number.
            pub const fn get(self) -> f64 {
                self.0
            }
        }

        impl TryFrom<f64> for $name {
            type Error = PrivacyError;

            fn try_from(value: f64) -> Result<Self, PrivacyError> {
                Self::new(value)
            }
        }

        impl From<$name> for f64 {
            fn from(value: $name) -> f64 {
                value.0
            }
        }

        impl core::str::FromStr for $name {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                Ok(Self::new(text.trim().parse()?)?)
            }
        }
    };
}

/// Why text is not a privacy parameter.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// Not a number at all.
    #[error("not a number")]
    NotANumber(#[from] core::num::ParseFloatError),
    /// A number outside the parameter's range.
    #[error(transparent)]
    OutOfRange(#[from] PrivacyError),
}

checked_f64!(
    /// ε of (ε, δ)-differential privacy: a natural logarithm, finite and not negative.
    Epsilon,
    |value| value.is_finite() && value >= 0.0,
    "finite, 0 or more"
);

checked_f64!(
    /// δ of (ε, δ)-differential privacy: a probability strictly between 0 and 1.
    ///
    /// It should be well below one over the number of records.
    Delta,
    |value| value > 0.0 && value < 1.0,
    "strictly between 0 and 1"
);

checked_f64!(
    /// The probability q with which Poisson sampling takes each record into a step, in [0, 1].
    SamplingRate,
    |value| (0.0..=1.0).contains(&value),
    "0 to 1"
);

impl SamplingRate {
    /// Every record in every step.
    pub const ONE: Self = Self(1.0);
}

checked_f64!(
    /// The noise multiplier σ: the noise's standard deviation over the L2 sensitivity (the clip
    /// norm). Finite and above 0: without noise there is no guarantee to speak of.
    NoiseMultiplier,
    |value| value.is_finite() && value > 0.0,
    "finite, above 0"
);

checked_f64!(
    /// Variance of integer noise in one coordinate, in squared grid units. Finite and above 0.
    Variance,
    |value| value.is_finite() && value > 0.0,
    "finite, above 0"
);

impl NoiseMultiplier {
    /// The least of a mechanism that promises anything: with less, ε is in the thousands.
    pub const LEAST: Self = Self(1e-2);

    /// The same, for a mechanism that is to be drawn from, accounted for or calibrated.
    ///
    /// # Errors
    /// It is below [`NoiseMultiplier::LEAST`].
    pub fn enough(self) -> Result<Self, PrivacyError> {
        if self < Self::LEAST {
            return Err(PrivacyError::TooLittleNoise(self));
        }
        Ok(self)
    }
}

impl fmt::Display for Epsilon {
    /// Rounded *up* to four decimals: a printed ε never promises more than was computed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Above this, f64 has no fourth decimal and the product below could overflow.
        if self.0 > 1e9 {
            return write!(f, "{:e}", self.0);
        }
        write!(f, "{}", (self.0 * 1e4).ceil() / 1e4)
    }
}

impl fmt::Display for Delta {
    /// Scientific notation, shortest form that reads back exactly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:e}", self.0)
    }
}

impl fmt::Display for SamplingRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Variance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for NoiseMultiplier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the tested values are exact")]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_checked() {
        for bad in [-1e-9, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Epsilon::new(bad).is_err(), "{bad}");
            assert!(Delta::new(bad).is_err(), "{bad}");
            assert!(SamplingRate::new(bad).is_err(), "{bad}");
            assert!(NoiseMultiplier::new(bad).is_err(), "{bad}");
        }
        assert!(Epsilon::new(0.0).is_ok());
        assert!(Delta::new(0.0).is_err());
        assert!(Delta::new(1.0).is_err());
        assert!(SamplingRate::new(0.0).is_ok());
        assert!(SamplingRate::new(1.0).is_ok());
        assert!(SamplingRate::new(1.0 + f64::EPSILON).is_err());
        assert!(NoiseMultiplier::new(0.0).is_err());
        assert!(NoiseMultiplier::new(0.009_99).unwrap().enough().is_err());
        assert!(NoiseMultiplier::LEAST.enough().is_ok());
    }

    #[test]
    fn epsilon_is_printed_rounded_up() {
        assert_eq!(Epsilon::new(3.912_01).unwrap().to_string(), "3.9121");
        assert_eq!(Epsilon::new(0.0).unwrap().to_string(), "0");
        assert_eq!(
            Epsilon::new(f64::MAX).unwrap().to_string(),
            format!("{:e}", f64::MAX)
        );
        assert_eq!(Delta::new(1e-5).unwrap().to_string(), "1e-5");
    }

    #[test]
    fn serde_refuses_what_new_refuses() {
        assert!(serde_json::from_str::<Delta>("1e-5").is_ok());
        let error = serde_json::from_str::<Delta>("1.5")
            .unwrap_err()
            .to_string();
        assert!(error.contains("strictly between 0 and 1"), "{error}");
        assert!(serde_json::from_str::<NoiseMultiplier>("0").is_err());
    }

    #[test]
    fn text_is_checked_too() {
        assert_eq!("0.25".parse::<SamplingRate>().unwrap().get(), 0.25);
        assert!(matches!(
            "x".parse::<SamplingRate>(),
            Err(ParseError::NotANumber(_))
        ));
        assert!(matches!(
            "2".parse::<SamplingRate>(),
            Err(ParseError::OutOfRange(_))
        ));
    }
}
