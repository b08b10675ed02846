//! JSON with one encoding.
//!
//! The rule: object keys ascending by their bytes, no white space, strings escaped no more than
//! JSON demands, whole numbers in decimal digits, and every other number as a string: the shortest
//! decimal that reads back as the same double. It is RFC 8785 without its rule for floating point,
//! which is where implementations differ.
//!
//! Specification: chapter 19, "Audit log", section 19.2.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// The canonical text of a value.
///
/// # Errors
/// The value has no JSON form.
pub fn to_string(value: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut text = String::new();
    write(&serde_json::to_value(value)?, &mut text)?;
    Ok(text)
}

fn write(value: &Value, out: &mut String) -> Result<(), serde_json::Error> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) if number.is_f64() => {
            let decimal = Decimal(number.as_f64().unwrap_or_default());
            out.push_str(&serde_json::to_string(&decimal)?);
        }
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => out.push_str(&serde_json::to_string(text)?),
        Value::Array(items) => {
            list(out, ('[', ']'), items, write)?;
        }
        Value::Object(fields) => {
            // Sorted here: the map keeps its order of insertion where a crate asks for that.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| key.as_bytes());
            list(out, ('{', '}'), &fields, |(key, value), out| {
                out.push_str(&serde_json::to_string(key)?);
                out.push(':');
                write(value, out)
            })?;
        }
    }
    Ok(())
}

fn list<T>(
    out: &mut String,
    (open, close): (char, char),
    items: &[T],
    mut item: impl FnMut(&T, &mut String) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    out.push(open);
    for (at, one) in items.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        item(one, out)?;
    }
    out.push(close);
    Ok(())
}

/// A real number as it stands in canonical JSON: a string.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decimal(pub f64);

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

/// An id or a digest as hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex<T>(pub T);

impl<T: std::fmt::Display> Serialize for Hex<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, T: std::str::FromStr<Err: std::fmt::Display>> Deserialize<'de> for Hex<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Spec: R-19.1.
    #[test]
    fn one_value_has_one_text() {
        let value =
            json!({"b": [1, -2, true, null], "a": {"z": 0.1, "y": 1e-5, "Z": "\u{e9}\n\""}});
        let text = to_string(&value).unwrap();
        let expected = r#"{"a":{"Z":"é\n\"","y":"0.00001","z":"0.1"},"b":[1,-2,true,null]}"#;
        assert_eq!(text, expected);
        let again: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(to_string(&again).unwrap(), text);
    }

    #[test]
    fn decimals_read_back() {
        for value in [0.1, 1e-5, 1e300, 1.0, 5.221_6] {
            let text = to_string(&Decimal(value)).unwrap();
            let back: Decimal = serde_json::from_str(&text).unwrap();
            assert_eq!(back.0.to_bits(), value.to_bits());
        }
    }
}
