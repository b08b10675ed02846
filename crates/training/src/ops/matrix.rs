//! A frozen matrix, as `f32` values or in candle's quantized blocks.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{CpuStorage, Device, Result, Storage, Tensor};

use super::{tensor, with_values};

/// Row-major `[rows, cols]`.
pub(crate) struct Matrix {
    rows: usize,
    cols: usize,
    values: Values,
}

enum Values {
    Dense(CpuStorage),
    /// Decoded whenever they are used, and only then: at most one matrix a worker is in memory as
    /// `f32`.
    Blocks(QTensor),
}

impl Matrix {
    /// `values` is `[rows, cols]`; rows follow from its length.
    pub(crate) fn new(cols: usize, values: Vec<f32>) -> Self {
        Self {
            rows: values.len() / cols.max(1),
            cols,
            values: Values::Dense(CpuStorage::F32(values)),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The same matrix rounded to blocks of `dtype`, whose size must divide `cols`.
    pub(crate) fn quantized(&self, dtype: GgmlDType) -> Result<Self> {
        let dense =
            self.with(|values| tensor(values.as_slice()?.to_vec(), (self.rows, self.cols)))?;
        Ok(Self {
            values: Values::Blocks(QTensor::quantize(&dense, dtype)?),
            ..*self
        })
    }

    /// Calls `f` with all values as `f32`.
    pub(super) fn with<T>(&self, f: impl FnOnce(&CpuStorage) -> Result<T>) -> Result<T> {
        match &self.values {
            Values::Dense(values) => f(values),
            Values::Blocks(blocks) => {
                let dense = blocks.dequantize(&Device::Cpu)?;
                let (storage, _) = dense.storage_and_layout();
                match &*storage {
                    Storage::Cpu(values) => f(values),
                    _ => Err(candle_core::Error::Msg("weights are on the CPU".into()).bt()),
                }
            }
        }
    }

    /// The rows `ids`, one after the other; `None` if one does not exist.
    pub(crate) fn gather(&self, ids: &[u32]) -> Result<Option<Vec<f32>>> {
        let exists = |id: &u32| usize::try_from(*id).is_ok_and(|id| id < self.rows);
        if ids.is_empty() || !ids.iter().all(exists) {
            return Ok(ids.is_empty().then(Vec::new));
        }
        match &self.values {
            Values::Dense(values) => {
                let values = values.as_slice::<f32>()?;
                let row = |id: &u32| {
                    let start = usize::try_from(*id).unwrap_or(0) * self.cols;
                    &values[start..start + self.cols]
                };
                Ok(Some(ids.iter().flat_map(row).copied().collect()))
            }
            Values::Blocks(blocks) => {
                let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
                with_values(&blocks.embedding(&ids)?, |values| Ok(values.to_vec())).map(Some)
            }
        }
    }

    /// Bytes that the values take in memory.
    pub(crate) fn bytes(&self) -> usize {
        match &self.values {
            Values::Dense(_) => self.rows * self.cols * size_of::<f32>(),
            Values::Blocks(blocks) => blocks.storage_size_in_bytes(),
        }
    }
}
