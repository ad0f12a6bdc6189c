//! Values of the file as JSON, and as TOML again.

use toml::de::{DeFloat, DeInteger, DeValue};

/// A value without columns as JSON.
///
/// # Errors
/// What JSON does not have.
pub(super) fn json(value: &DeValue<'_>) -> Result<Vec<u8>, String> {
    let json = match value {
        DeValue::String(text) => serde_json::Value::from(text.as_ref()),
        DeValue::Integer(number) => integer(number)?.into(),
        DeValue::Float(number) => float(number)?.into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(_) => return Err("a date or a time: write it as a text".to_owned()),
        DeValue::Array(_) | DeValue::Table(_) => return Err("not a constant".to_owned()),
    };
    Ok(json.to_string().into_bytes())
}

fn integer(number: &DeInteger<'_>) -> Result<i64, String> {
    let value = i64::from_str_radix(number.as_str(), number.radix());
    value.map_err(|_| format!("{} is no integer of 64 bits", number.as_str()))
}

fn float(number: &DeFloat<'_>) -> Result<f64, String> {
    let value = number.as_str().parse::<f64>().ok().filter(|value| value.is_finite());
    value.ok_or_else(|| format!("{} is no number that JSON has", number.as_str()))
}

/// A value as TOML in one line.
pub(super) fn toml(value: &DeValue<'_>) -> String {
    match value {
        // JSON's escapes are TOML's too, and DEL is the one character more that TOML wants escaped.
        DeValue::String(text) => {
            serde_json::Value::from(text.as_ref()).to_string().replace('\u{7f}', "\\u007F")
        }
        DeValue::Integer(number) => {
            integer(number).map_or_else(|_| number.to_string(), |number| number.to_string())
        }
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(value) => value.to_string(),
        DeValue::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| toml(item.get_ref())).collect();
            format!("[{}]", items.join(", "))
        }
        DeValue::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(name, _)| name.span().start);
            let entries = entries.into_iter().map(|(name, value)| {
                let name = toml(&DeValue::String(name.get_ref().as_ref().into()));
                format!("{name} = {}", toml(value.get_ref()))
            });
            let entries: Vec<_> = entries.collect();
            if entries.is_empty() {
                "{}".to_owned()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        }
    }
}
