//! The global adapter: named `f32` tensors with one canonical byte form and one flat order.
//!
//! Aggregator and clients must agree on two things about an adapter: its bytes, whose SHA-256 is
//! the model digest of the round parameters, and the order in which its values fill the input
//! vector. Both are fixed here: tensors are ordered by name (byte order), values are row-major
//! little-endian `f32`, and the container is safetensors.
//!
//! Specification: chapter 12, "Input encoding", section 12.1.

use std::collections::BTreeMap;
use std::fmt;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// Why bytes are not an adapter, or two adapters do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AdapterError {
    /// The container could not be read.
    #[error("the adapter is not a valid safetensors file: {0}")]
    Container(String),
    /// A tensor is not made of `f32`.
    #[error("tensor `{name}` has type {found}; adapters hold F32 only")]
    Type {
        /// The tensor's name.
        name: String,
        /// The type that was found.
        found: String,
    },
    /// A shape and a number of values disagree.
    #[error("expected {expected} values, got {found}")]
    Length {
        /// How many values the shapes ask for.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A value is not finite.
    #[error("the adapter holds a value that is not finite")]
    NotFinite,
}

/// Named `f32` tensors in canonical order, flattened into one vector.
#[derive(Clone, PartialEq)]
pub struct Adapter {
    shapes: BTreeMap<String, Vec<usize>>,
    values: Vec<f32>,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Adapter")
            .field("shapes", &self.shapes)
            .finish_non_exhaustive()
    }
}

impl Adapter {
    /// Builds an adapter from named tensors: shape and row-major values of each.
    ///
    /// # Errors
    /// [`AdapterError::Length`] if a shape and its values disagree, [`AdapterError::NotFinite`].
    pub fn new(tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>) -> Result<Self, AdapterError> {
        let mut shapes = BTreeMap::new();
        let mut values = Vec::new();
        for (name, (shape, data)) in tensors {
            let expected = shape.iter().product();
            if data.len() != expected {
                return Err(AdapterError::Length {
                    expected,
                    found: data.len(),
                });
            }
            values.extend(data);
            shapes.insert(name, shape);
        }
        Self { shapes, values }.finite()
    }

    /// The same tensors with other values, `values.len() == self.len()`.
    ///
    /// # Errors
    /// [`AdapterError::Length`], [`AdapterError::NotFinite`].
    pub fn with_values(&self, values: Vec<f32>) -> Result<Self, AdapterError> {
        if values.len() != self.values.len() {
            return Err(AdapterError::Length {
                expected: self.values.len(),
                found: values.len(),
            });
        }
        Self {
            shapes: self.shapes.clone(),
            values,
        }
        .finite()
    }

    /// Reads the canonical bytes (any safetensors file of `F32` tensors is accepted).
    ///
    /// # Errors
    /// [`AdapterError`] says what is wrong with the bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AdapterError> {
        let file =
            SafeTensors::deserialize(bytes).map_err(|e| AdapterError::Container(e.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (name, view) in file.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(AdapterError::Type {
                    name,
                    found: format!("{:?}", view.dtype()),
                });
            }
            let (chunks, _) = view.data().as_chunks::<4>();
            let values = chunks.iter().map(|c| f32::from_le_bytes(*c)).collect();
            tensors.insert(name, (view.shape().to_vec(), values));
        }
        Self::new(tensors)
    }

    /// The canonical bytes, whose SHA-256 is the model digest.
    ///
    /// # Errors
    /// [`AdapterError::Container`] if a shape overflows the container.
    pub fn to_bytes(&self) -> Result<Vec<u8>, AdapterError> {
        let container = |e: safetensors::SafeTensorError| AdapterError::Container(e.to_string());
        let buffers: Vec<(&String, &Vec<usize>, Vec<u8>)> = self
            .tensors()
            .map(|(name, shape, values)| {
                (
                    name,
                    shape,
                    values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                )
            })
            .collect();
        let views = buffers
            .iter()
            .map(|(name, shape, data)| {
                Ok((
                    name.as_str(),
                    TensorView::new(Dtype::F32, (*shape).clone(), data)?,
                ))
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(container)?;
        safetensors::serialize(views, None).map_err(container)
    }

    /// The tensors in canonical order: name, shape, row-major values.
    pub fn tensors(&self) -> impl Iterator<Item = (&String, &Vec<usize>, &[f32])> {
        let mut rest = self.values.as_slice();
        self.shapes.iter().map(move |(name, shape)| {
            let (head, tail) = rest.split_at(shape.iter().product::<usize>().min(rest.len()));
            rest = tail;
            (name, shape, head)
        })
    }

    /// All values in canonical order, `[len]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The number of values: the length d of an update's input vector.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether the adapter holds no value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    fn finite(self) -> Result<Self, AdapterError> {
        if self.values.iter().all(|v| v.is_finite()) {
            Ok(self)
        } else {
            Err(AdapterError::NotFinite)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Adapter {
        Adapter::new(BTreeMap::from([
            ("b".to_owned(), (vec![3], vec![4.0, 5.0, 6.0])),
            ("a".to_owned(), (vec![1, 2], vec![1.0, -2.5])),
        ]))
        .unwrap()
    }

    fn dtype_bytes(dtype: Dtype) -> usize {
        dtype.bitsize() / 8
    }

    #[test]
    fn bytes_round_trip_and_are_canonical() {
        let bytes = sample().to_bytes().unwrap();
        let back = Adapter::from_bytes(&bytes).unwrap();
        assert_eq!(back, sample());
        assert_eq!(back.to_bytes().unwrap(), bytes);
        assert_eq!(back.values(), [1.0, -2.5, 4.0, 5.0, 6.0]);
    }

    /// Spec.
    #[test]
    fn wrong_input_is_refused() {
        assert!(matches!(
            Adapter::from_bytes(b"nonsense"),
            Err(AdapterError::Container(_))
        ));
        assert_eq!(
            sample().with_values(vec![0.0]),
            Err(AdapterError::Length {
                expected: 5,
                found: 1
            })
        );
        assert_eq!(
            sample().with_values(vec![f32::NAN; 5]),
            Err(AdapterError::NotFinite)
        );
        let file = |dtype, data: [u8; 4]| {
            let shape = vec![4 / dtype_bytes(dtype)];
            let view = TensorView::new(dtype, shape, &data).unwrap();
            Adapter::from_bytes(&safetensors::serialize([("a", view)], None).unwrap())
        };
        assert_eq!(file(Dtype::F32, [0; 4]).unwrap().values(), [0.0]);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let refused = file(Dtype::F32, value.to_le_bytes());
            assert_eq!(refused, Err(AdapterError::NotFinite), "{value}");
        }
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::I32, Dtype::U8] {
            let refused = file(dtype, [0; 4]);
            assert!(matches!(refused, Err(AdapterError::Type { .. })));
        }
    }
}
