//! Whether the spends of a task's chain add up: each of them is a receipt, and the signed head covers
//! it.
//!
//! Entries of earlier versions name neither mechanism nor cost; of those only the count is checked.

use serde_json::Value;

use super::spend;

/// What a chain has said so far.
#[derive(Debug, Default)]
pub(super) struct Spending {
    mechanism: Option<String>,
    rounds: u64,
}

impl Spending {
    /// Takes the event of the next entry.
    ///
    /// # Errors
    /// What does not follow from the entries before it.
    pub(super) fn take(&mut self, event: &Value) -> Result<(), String> {
        match event["kind"].as_str() {
            Some("task-created") => {
                self.mechanism = event["mechanism"].as_str().map(str::to_owned);
                Ok(())
            }
            Some("privacy-spent") => self.spent(event),
            _ => Ok(()),
        }
    }

    fn spent(&mut self, event: &Value) -> Result<(), String> {
        let more = u64::from(event["revealed"] != "nothing");
        self.rounds = self.rounds.saturating_add(more);
        if event["rounds"] != self.rounds {
            let (said, counted) = (&event["rounds"], self.rounds);
            return Err(format!(
                "it says that inputs were taken in {said} rounds; the entries tell of {counted}"
            ));
        }
        let named = event["mechanism"].as_str();
        if let (Some(named), Some(made)) = (named, &self.mechanism)
            && named != made
        {
            return Err(format!(
                "it is a spend of mechanism {named}; the task was made with {made}"
            ));
        }
        self.figure(event)
    }

    /// The figure must not be below what the entry's own cost composes to.
    fn figure(&self, event: &Value) -> Result<(), String> {
        let guarantee = &event["guarantee"];
        let decimal = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
        let costs = event["costs"].as_array();
        let cost = costs
            .into_iter()
            .flatten()
            .find(|cost| cost["unit"] == guarantee["unit"]);
        let (Some(cost), Some(stated), Some(delta)) = (
            cost,
            decimal(&guarantee["total"]["epsilon"]),
            decimal(&guarantee["total"]["delta"]),
        ) else {
            return Ok(());
        };
        match spend::recomputed(&cost["event"], self.rounds, delta) {
            // A later version may account more tightly, and find less.
            Some(least) if stated < least * (1.0 - 1e-6) => Err(format!(
                "it states epsilon {stated}, and {} rounds of the cost that it names come to {least}",
                self.rounds
            )),
            Some(_) => Ok(()),
            None => Err("nothing bounds the cost that it names, and it states epsilon".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn created() -> Value {
        json!({"kind": "task-created", "mechanism": "aa"})
    }

    fn cost() -> Value {
        json!({"unit": "example", "event": {"kind": "gaussian", "sampling_rate": "0.1",
            "noise_multiplier": "1.1", "steps": 4}})
    }

    fn spent(revealed: &str, rounds: u64, epsilon: f64) -> Value {
        json!({"kind": "privacy-spent", "revealed": revealed, "rounds": rounds, "mechanism": "aa",
            "costs": [cost()], "guarantee": {"kind": "differential-privacy", "unit": "example",
            "total": {"epsilon": epsilon.to_string(), "delta": "0.00001"}}})
    }

    fn epsilon(rounds: u64) -> f64 {
        spend::recomputed(&cost()["event"], rounds, 1e-5).unwrap()
    }

    fn fault(entries: &[Value]) -> Option<String> {
        let mut spending = Spending::default();
        entries.iter().find_map(|event| spending.take(event).err())
    }

    /// Spec.
    #[test]
    fn spends_have_to_add_up() {
        let good = [
            created(),
            spent("sum", 1, epsilon(1)),
            spent("nothing", 1, epsilon(1)),
            spent("masked-inputs", 2, epsilon(2)),
        ];
        assert_eq!(fault(&good), None);
        let left_out = [created(), spent("sum", 2, epsilon(2))];
        assert!(fault(&left_out).unwrap().contains("the entries tell of 1"));
        let too_little = [created(), spent("sum", 1, epsilon(1) * 0.99)];
        assert!(fault(&too_little).unwrap().contains("come to"));
        let mut other = spent("sum", 1, epsilon(1));
        other["mechanism"] = "bb".into();
        assert!(fault(&[created(), other]).unwrap().contains("mechanism bb"));
        let mut nonsense = spent("sum", 1, epsilon(1));
        nonsense["costs"][0]["event"]["noise_multiplier"] = "0".into();
        assert!(
            fault(&[created(), nonsense])
                .unwrap()
                .contains("nothing bounds")
        );
    }

    #[test]
    fn entries_of_earlier_versions_are_counted() {
        let old = |rounds: u64| {
            let mut old = spent("sum", rounds, 0.1);
            for field in ["mechanism", "costs"] {
                old.as_object_mut().unwrap().remove(field);
            }
            old
        };
        assert_eq!(fault(&[created(), old(1), old(2)]), None);
        assert!(fault(&[created(), old(1), old(1)]).is_some());
    }
}
