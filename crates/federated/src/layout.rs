//! Which coordinates of an adapter are the model's, and which belong to an algorithm.
//!
//! An adapter is the global state that clients are handed, and the vector that goes through the
//! secure sum has its shape. What an algorithm needs besides the model is therefore further tensors
//! of the adapter, under names that no model uses:
//!
//! | name | shape | what it is | the next value |
//! |---|---|---|---|
//! | `undertone.control.NAME` | that of NAME | SCAFFOLD's control variate c | c + (survivors / clients) x mean |
//! | `undertone.weight` | `[1]` | 0; in the sum, the clients' weights | 0 |
//! | `undertone.clip` | `[4]` | the clip norm C of updates, and its rule; in the sum, the clients' bits | [`crate::clip`] |
//!
//! Every other name is the model's, and the server's optimiser moves it.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::error::FederatedError;

/// What all reserved names begin with.
pub const RESERVED: &str = "undertone.";

/// What the names of control variates begin with.
pub const CONTROL: &str = "undertone.control.";

/// The name of the weight.
pub const WEIGHT: &str = "undertone.weight";

/// The name of the clip norm.
pub const CLIP: &str = "undertone.clip";

/// What a tensor is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Part of the model.
    Model,
    /// SCAFFOLD's control variate of a part of the model.
    Control,
    /// The clients' weights.
    Weight,
    /// The clip norm of updates and its rule.
    Clip,
}

impl Role {
    /// The role of a name.
    ///
    /// # Errors
    /// [`FederatedError::Tensor`] if the name is reserved and stands for nothing.
    pub fn of(name: &str) -> Result<Self, FederatedError> {
        if name.starts_with(CONTROL) {
            Ok(Self::Control)
        } else if name == WEIGHT {
            Ok(Self::Weight)
        } else if name == CLIP {
            Ok(Self::Clip)
        } else if name.starts_with(RESERVED) {
            Err(refused(name, "the name is reserved and means nothing here"))
        } else {
            Ok(Self::Model)
        }
    }
}

/// Where each tensor of an adapter lies in its flat vector, and its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<(Range<usize>, Role)>,
    length: usize,
}

impl Layout {
    /// The layout of tensors, given by name and shape in the adapter's canonical order.
    ///
    /// # Errors
    /// [`FederatedError::Tensor`] if a reserved name means nothing, if the control variates are
    /// not exactly those of the model, or if the weight is not one value.
    pub fn of<'a>(
        tensors: impl IntoIterator<Item = (&'a str, &'a [usize])>,
    ) -> Result<Self, FederatedError> {
        let (mut parts, mut length) = (Vec::new(), 0);
        let (mut model, mut control) = (BTreeMap::new(), BTreeMap::new());
        for (name, shape) in tensors {
            let role = Role::of(name)?;
            let size: usize = shape.iter().product();
            match role {
                Role::Model => {
                    model.insert(name, shape);
                }
                Role::Control => {
                    let of = name.strip_prefix(CONTROL).unwrap_or_default();
                    control.insert(of, shape);
                }
                Role::Weight if shape != [1] => {
                    return Err(refused(name, "it is one value, of shape [1]"));
                }
                Role::Clip if shape != [4] => {
                    return Err(refused(name, "it is four values, of shape [4]"));
                }
                Role::Weight | Role::Clip => {}
            }
            parts.push((length..length + size, role));
            length += size;
        }
        if !control.is_empty() && control != model {
            let odd = control
                .iter()
                .find(|(name, shape)| model.get(*name) != Some(shape));
            let odd = odd.or_else(|| model.iter().find(|(name, _)| !control.contains_key(*name)));
            let name = odd.map_or("", |(name, _)| name);
            return Err(refused(
                name,
                "every tensor of the model needs a control variate of its shape, and no other",
            ));
        }
        let layout = Self { parts, length };
        if layout.clip().is_some() && (layout.has_control() || layout.weight().is_some()) {
            return Err(refused(
                CLIP,
                "it bounds the model's update alone; choose fed-avg or fed-prox instead of \
                 scaffold, and the weighting uniform or examples-fixed",
            ));
        }
        Ok(layout)
    }

    /// How many coordinates there are.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// How many of them are the model's.
    pub fn model_len(&self) -> usize {
        self.ranges(Role::Model).map(|range| range.len()).sum()
    }

    /// Where the tensors of a role lie.
    pub fn ranges(&self, role: Role) -> impl Iterator<Item = Range<usize>> + '_ {
        let parts = self.parts.iter();
        parts
            .filter(move |(_, of)| *of == role)
            .map(|(range, _)| range.clone())
    }

    /// Whether clients send control variates.
    pub fn has_control(&self) -> bool {
        self.ranges(Role::Control).next().is_some()
    }

    /// Where the clip norm and its rule lie, if clients clip to one.
    pub fn clip(&self) -> Option<Range<usize>> {
        self.ranges(Role::Clip).next()
    }

    /// The place of the weight, where clients send one.
    pub fn weight(&self) -> Option<usize> {
        self.ranges(Role::Weight).next().map(|range| range.start)
    }

    /// Refuses a weight in the sum of a task that promises something to whole clients: a quotient
    /// of two noised sums has no bounded sensitivity to one of them.
    ///
    /// # Errors
    /// [`FederatedError::Tensor`] says what to choose instead.
    pub fn check_promise(&self, to_whole_clients: bool) -> Result<(), FederatedError> {
        if to_whole_clients && self.weight().is_some() {
            return Err(refused(
                WEIGHT,
                "the mechanism promises privacy for whole clients, and a sum divided by the sum of \
                 weights has no bounded sensitivity to one; choose the weighting examples-fixed, \
                 which divides by a fixed number, or uniform",
            ));
        }
        Ok(())
    }

    /// The values of one role, in order.
    pub fn gather<T: Copy>(&self, values: &[T], role: Role) -> Vec<T> {
        let ranges = self.ranges(role);
        ranges
            .flat_map(|range| values.get(range).unwrap_or_default().iter().copied())
            .collect()
    }

    /// Puts values of one role back into their places; the other way round of [`Layout::gather`].
    pub fn scatter<T: Copy>(&self, values: &mut [T], role: Role, from: &[T]) {
        let mut from = from.iter();
        for range in self.ranges(role) {
            let places = values.get_mut(range).unwrap_or_default();
            places
                .iter_mut()
                .zip(&mut from)
                .for_each(|(place, value)| *place = *value);
        }
    }
}

fn refused(name: &str, reason: &str) -> FederatedError {
    FederatedError::Tensor {
        name: name.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(tensors: &[(&str, &[usize])]) -> Result<Layout, FederatedError> {
        Layout::of(tensors.iter().copied())
    }

    #[test]
    fn roles_follow_from_names() {
        let layout = layout(&[
            ("a", &[2]),
            ("b", &[1, 3]),
            ("undertone.control.a", &[2]),
            ("undertone.control.b", &[1, 3]),
            ("undertone.weight", &[1]),
            ("z", &[1]),
        ]);
        // z has no control variate.
        let refused = layout.unwrap_err().to_string();
        assert!(refused.contains("`z`"), "{refused}");
        let layout = Layout::of([
            ("a", [2].as_slice()),
            ("undertone.control.a", &[2]),
            ("undertone.control.z", &[1]),
            ("undertone.weight", &[1]),
            ("z", &[1]),
        ])
        .unwrap();
        assert_eq!(
            (layout.len(), layout.model_len(), layout.weight()),
            (7, 3, Some(5))
        );
        let values = [1, 2, 3, 4, 5, 6, 7];
        assert_eq!(layout.gather(&values, Role::Model), [1, 2, 7]);
        assert_eq!(layout.gather(&values, Role::Control), [3, 4, 5]);
        let mut other = [0; 7];
        layout.scatter(&mut other, Role::Control, &[8, 9, 10]);
        assert_eq!(other, [0, 0, 8, 9, 10, 0, 0]);
    }

    #[test]
    fn reserved_names_that_mean_nothing_and_wrong_shapes_are_refused() {
        for (tensors, names) in [
            (vec![("undertone.colour", [1].as_slice())], "reserved"),
            (vec![("a", &[1]), ("undertone.weight", &[2])], "one value"),
            (vec![("a", &[1]), ("undertone.clip", &[1])], "four values"),
            (
                vec![("undertone.clip", &[4]), ("undertone.weight", &[1])],
                "examples-fixed",
            ),
            (vec![("a", &[1]), ("undertone.control.b", &[1])], "`b`"),
            (vec![("a", &[1]), ("undertone.control.a", &[1, 1])], "`a`"),
        ] {
            let refused = layout(&tensors).unwrap_err().to_string();
            assert!(refused.contains(names), "{refused}");
        }
        assert!(!layout(&[("a", &[1])]).unwrap().has_control());
    }

    #[test]
    fn a_weight_and_a_promise_to_whole_clients_do_not_go_together() {
        let plain = layout(&[("a", &[1])]).unwrap();
        let weighted = layout(&[("a", &[1]), ("undertone.weight", &[1])]).unwrap();
        plain.check_promise(true).unwrap();
        weighted.check_promise(false).unwrap();
        let refused = weighted.check_promise(true).unwrap_err().to_string();
        assert!(refused.contains("examples-fixed"), "{refused}");
    }
}
