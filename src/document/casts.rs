//! Values that only the server can turn into JSON.

use std::collections::{HashMap, HashSet};

/// What the server's casts to `json` made of values, and the values of which that is still wanted.
#[derive(Debug, Default)]
pub struct Casts {
    /// By type and text.
    known: HashMap<u32, HashMap<Vec<u8>, Vec<u8>>>,
    wanted: HashMap<u32, HashSet<Vec<u8>>>,
}

impl Casts {
    /// Takes what the server made of a value; `None` where it refused to, and then the document
    /// shows the text.
    pub fn learn(&mut self, type_oid: u32, text: Vec<u8>, json: Option<Vec<u8>>) {
        let json =
            json.unwrap_or_else(|| crate::json_text::json_string(&String::from_utf8_lossy(&text)));
        self.known.entry(type_oid).or_default().insert(text, json);
    }

    /// Whether a value is wanted.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// The values that are wanted, each once, by type.
    pub fn take_wanted(&mut self) -> impl Iterator<Item = (u32, Vec<Vec<u8>>)> + use<> {
        std::mem::take(&mut self.wanted)
            .into_iter()
            .map(|(type_oid, texts)| (type_oid, texts.into_iter().collect()))
    }

    /// Forgets all values: a cast or a type may change.
    pub fn clear(&mut self) {
        self.known.clear();
        self.wanted.clear();
    }

    /// Writes a value as JSON; false if it is not known, and then it is wanted.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, type_oid: u32, text: &[u8]) -> bool {
        let json = self.known.get(&type_oid).and_then(|known| known.get(text));
        match json {
            Some(json) => out.extend_from_slice(json),
            None => drop(self.wanted.entry(type_oid).or_default().insert(text.to_vec())),
        }
        json.is_some()
    }
}
