//! The keys that a table owns.

use super::template::KeyTemplate;

/// The keys of a table that begin with one literal text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    prefix: Vec<u8>,
    /// What can be there; if nothing is named, all of it is the table's.
    templates: Vec<KeyTemplate>,
}

impl Keyspace {
    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn whole(prefix: &[u8]) -> Self {
        Self { prefix: prefix.to_vec(), templates: Vec::new() }
    }

    /// The keyspaces of a table with these templates: none of them begins with another.
    #[must_use]
    pub fn of_templates<'t>(templates: impl IntoIterator<Item = &'t KeyTemplate>) -> Vec<Self> {
        let mut templates: Vec<_> = templates.into_iter().collect();
        templates.sort_by_key(|template| template.keyspace());
        let mut keyspaces: Vec<Self> = Vec::new();
        for template in templates {
            let inside = |last: &&mut Self| template.keyspace().starts_with(&last.prefix);
            let template_of = (!template.is_whole()).then(|| template.clone());
            match keyspaces.last_mut().filter(inside) {
                Some(last) => last.templates.extend(template_of),
                None => keyspaces.push(Self {
                    prefix: template.keyspace().to_vec(),
                    templates: template_of.into_iter().collect(),
                }),
            }
        }
        keyspaces
    }

    /// What its keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// Whether all keys that begin so are the table's.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.templates.is_empty()
    }

    /// Whether all keys that begin so are the table's, but for one that is nothing else: a template has
    /// `:raw` behind the prefix, and nothing else.
    #[must_use]
    pub fn is_range(&self) -> bool {
        let gives_all = |template: &KeyTemplate| {
            template.keyspace() == self.prefix && template.gives_all_behind_keyspace()
        };
        self.templates.iter().any(gives_all)
    }

    /// Whether a key can be the table's; others' keys may begin so too, and stay.
    #[must_use]
    pub fn gives(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && (self.is_whole() || self.templates.iter().any(|template| template.gives(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_that_begin_alike_share_a_keyspace() {
        let templates = ["b/{n}/rule", "/z/{n}", "b/{n}/service", "b/x/{n}"];
        let templates = templates.map(|text| KeyTemplate::parse(text).expect(text));
        let keyspaces = Keyspace::of_templates(&templates);
        let prefixes: Vec<_> = keyspaces.iter().map(Keyspace::prefix).collect();
        assert_eq!(prefixes, [&b"/z/"[..], b"b/"]);
        for (key, gives) in
            [("b/1/rule", true), ("b/x/1", true), ("b/1", false), ("b/", false), ("/z/1", false)]
        {
            assert_eq!(keyspaces[1].gives(key.as_bytes()), gives, "{key}");
        }
        for (texts, is_range) in [
            (&["/c/{p:raw}"][..], true),
            (&["/c/{p:raw}", "/c/{p}/x"], true),
            (&["/c/x{p:raw}", "/c/"], false),
            (&["/c/{a}/{p:raw}"], false),
            (&["/c/{p:dns}"], false),
            (&["/c/{p}"], false),
        ] {
            let templates = texts.iter().map(|text| KeyTemplate::parse(text).expect(text));
            let templates: Vec<_> = templates.collect();
            assert_eq!(Keyspace::of_templates(&templates)[0].is_range(), is_range, "{texts:?}");
        }
        let whole = Keyspace::whole(b"/p/t/");
        assert!(whole.gives(b"/p/t/") && whole.gives(b"/p/t/1/2") && !whole.gives(b"/p/t"));
    }
}
