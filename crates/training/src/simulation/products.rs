//! Averaging the products of plain LoRA instead of its factors.

use std::collections::BTreeMap;

use undertone_federated::refactor::{Factors, Shape, average};
use undertone_protocol::adapter::Adapter;

use crate::error::Result;

/// What the names of the two factors of one product end with.
const B: &str = "lora_B.weight";
const A: &str = "lora_A.weight";

/// `next`, with the factors of each product replaced by those of the average of the clients'
/// products; `updates` are the clients' vectors, `[d]` each, of a round that started from `global`.
/// Tensors that are no factors stay.
pub(super) fn averaged(global: &Adapter, next: &Adapter, updates: &[Vec<f32>]) -> Result<Adapter> {
    let clients = updates
        .iter()
        .map(|update| {
            let values = global.values().iter().zip(update).map(|(g, u)| g + u);
            Ok(by_name(&global.with_values(values.collect())?))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut tensors = by_name(next);
    let names: Vec<String> = tensors.keys().cloned().collect();
    for name in names {
        let Some(stem) = name.strip_suffix(B) else {
            continue;
        };
        let other = format!("{stem}{A}");
        let (Some((b_shape, _)), Some((a_shape, _))) = (tensors.get(&name), tensors.get(&other))
        else {
            continue;
        };
        let ([rows, rank], [_, columns]) = (b_shape.as_slice(), a_shape.as_slice()) else {
            continue;
        };
        let shape = Shape {
            rows: *rows,
            columns: *columns,
            rank: *rank,
        };
        let factors: Vec<_> = clients
            .iter()
            .filter_map(|client| {
                let (b, a) = (&client.get(&name)?.1, &client.get(&other)?.1);
                Some((1.0, Factors { b, a }))
            })
            .collect();
        let (b, a) = average(&factors, shape)?;
        if let Some((_, values)) = tensors.get_mut(&name) {
            *values = b;
        }
        if let Some((_, values)) = tensors.get_mut(&other) {
            *values = a;
        }
    }
    Ok(Adapter::new(tensors)?)
}

fn by_name(adapter: &Adapter) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let tensors = adapter.tensors();
    tensors
        .map(|(name, shape, values)| (name.clone(), (shape.clone(), values.to_vec())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(b: [f32; 2], a: [f32; 2], head: f32) -> Adapter {
        Adapter::new(BTreeMap::from([
            ("head".to_owned(), (vec![1], vec![head])),
            ("x.lora_A.weight".to_owned(), (vec![1, 2], a.to_vec())),
            ("x.lora_B.weight".to_owned(), (vec![2, 1], b.to_vec())),
        ]))
        .unwrap()
    }

    /// Products diag(8, 0) and diag(0, 2): the average is diag(4, 1), at rank 1 [2; 0] [2, 0].
    #[test]
    fn factors_are_replaced_and_the_head_stays() {
        let start = adapter([0.0; 2], [0.0; 2], 1.0);
        let updates = [
            adapter([4.0, 0.0], [2.0, 0.0], 0.5).values().to_vec(),
            adapter([0.0, 1.0], [0.0, 2.0], 0.0).values().to_vec(),
        ];
        let next = adapter([2.0, 0.5], [1.0, 1.0], 1.25);
        let found = averaged(&start, &next, &updates).unwrap();
        let expected = adapter([2.0, 0.0], [2.0, 0.0], 1.25);
        for (a, b) in found.values().iter().zip(expected.values()) {
            assert!((a - b).abs() < 1e-6, "{found:?}");
        }
    }
}
