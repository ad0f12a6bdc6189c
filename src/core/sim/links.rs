//! Tables that are nested in each other: who points to whom, and what the settings say of it.

use super::random::Random;
use super::row::{COLUMNS, Row};
use super::shapes;

/// A foreign key, by which the rows of a table are in the documents of another.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) child: usize,
    /// The place of its column in [`Row::points`].
    pub(super) point: usize,
    pub(super) parent: usize,
    /// The name of the member, quotes included.
    pub(super) json_name: Vec<u8>,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    /// The elements are ordered by these columns.
    Array(Vec<usize>),
    /// The members' names are made of these columns, with `:` between.
    Map(Vec<usize>),
}

/// What a table is before there are settings for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity {
    pub(super) key: &'static [&'static str],
    /// Whether all columns are sent of a row that is deleted.
    pub(super) full: bool,
}

/// The foreign keys of some tables: which has it, whether it is `p` or `q`, and the table that it
/// references.
type Sketch = (usize, &'static [(usize, usize, usize)]);

const SKETCHES: [Sketch; 7] = [
    // One in another.
    (2, &[(1, 0, 0)]),
    // One in two.
    (3, &[(2, 0, 0), (2, 1, 1)]),
    // One in itself.
    (1, &[(0, 0, 0)]),
    // One in another that is in a third.
    (3, &[(1, 0, 0), (2, 0, 1)]),
    // One in another twice.
    (2, &[(1, 0, 0), (1, 1, 0)]),
    // Two in a third.
    (3, &[(1, 0, 0), (2, 0, 0)]),
    // One in itself, and another too.
    (2, &[(0, 1, 0), (1, 0, 0)]),
];

/// Tables that are nested in each other, and the blocks of the settings that say so.
pub(super) fn family(random: &mut Random) -> (Vec<Identity>, Vec<Link>, String) {
    let (count, sketch) = SKETCHES[random.below(SKETCHES.len())];
    let identities: Vec<_> = (0..count).map(|table| identity(table, sketch, random)).collect();
    let (mut links, mut blocks) = (Vec::new(), String::new());
    for (table, Identity { key, full }) in identities.iter().enumerate() {
        let members = sketch.iter().filter(|(.., parent)| *parent == table);
        let members: Vec<_> = members
            .enumerate()
            .map(|(place, &(child, point, parent))| {
                let name = format!("m{place}");
                let (form, words) = nested(identities[child], point, random);
                let column = COLUMNS[5 + point].0;
                let member =
                    format!("nest.{name} = {{ table = 't{child}', by = ['{column}'], {words} }}\n");
                let json_name = format!("\"{name}\"").into_bytes();
                links.push(Link { child, point, parent, json_name, form });
                member
            })
            .collect();
        let block = match members.is_empty() {
            false => shapes::parent_block(table, random) + &members.concat(),
            true if random.percent(30) => "standalone = false\n".to_owned(),
            true if random.percent(65) => shapes::block(table, key, *full, random),
            true => continue,
        };
        blocks += &format!(
            "[tables.t{table}]\n{}\n",
            block.replace("tables.t.", &format!("tables.t{table}."))
        );
    }
    (identities, links, blocks)
}

fn identity(table: usize, sketch: &[(usize, usize, usize)], random: &mut Random) -> Identity {
    let is_parent = sketch.iter().any(|(.., parent)| *parent == table);
    let points = sketch.iter().filter(|(child, ..)| *child == table).count();
    let full = random.percent(30);
    match (is_parent, points) {
        (true, 0) => Identity { key: &["id"], full },
        // A foreign key is to exactly the parent's key.
        (true, _) => Identity { key: &["id"], full: true },
        (false, _) if random.percent(40) => Identity { key: &["id"], full: true },
        (false, 1) => {
            let keys: [&'static [&'static str]; 4] =
                [&["id", "p"], &["p", "id"], &["id", "name", "p"], &["p", "name", "id"]];
            Identity { key: keys[random.below(4)], full }
        }
        (false, _) => {
            let keys: [&'static [&'static str]; 2] = [&["p", "q", "id"], &["id", "q", "p"]];
            Identity { key: keys[random.below(2)], full }
        }
    }
}

/// How a table is nested by one of its foreign keys: its form, and the words of the settings for it.
fn nested(Identity { key, full }: Identity, point: usize, random: &mut Random) -> (Form, String) {
    let foreign = COLUMNS[5 + point].0;
    let key: Vec<&str> = key.iter().copied().filter(|column| *column != foreign).collect();
    let place = |name: &&str| COLUMNS.iter().position(|(known, ..)| known == name).unwrap_or(0);
    let nulls = if random.percent(40) { "nulls = 'omit'" } else { "" };
    if random.percent(35) {
        let mut columns = key.clone();
        columns.sort_by_key(|name| *name == "name");
        if full && !columns.contains(&"name") && random.percent(50) {
            columns.push("name");
        }
        let member: Vec<_> = columns.iter().map(|name| format!("{{{name}}}")).collect();
        let value = match random.below(7) {
            0 => "value = '{t}'".to_owned(),
            1 => "value = '{n}'".to_owned(),
            2 => "value = '{n}-{o}'".to_owned(),
            3 => "value = '{t}/{o}'".to_owned(),
            _ => element(&key, foreign, random),
        };
        let form = Form::Map(columns.iter().map(place).collect());
        let name = format!("as = 'map', member = '{}'", member.join(":"));
        return (form, words(&[&name, &value, nulls]));
    }
    if key == ["id"] && random.percent(30) {
        return (Form::Array(vec![0]), "value = '{id}'".to_owned());
    }
    let mut order = Vec::new();
    for _ in 0..random.below(3) {
        let column = ["n", "name", "o", "t"][random.below(4)];
        if !order.contains(&column) {
            order.push(column);
        }
    }
    let mut needed = key.clone();
    needed.extend(order.iter().filter(|name| !key.contains(name)));
    let value = element(&needed, foreign, random);
    let names: Vec<_> = order.iter().map(|name| format!("'{name}'")).collect();
    let names = format!("order = [{}]", names.join(", "));
    let form = Form::Array(order.iter().chain(&key).map(place).collect());
    (form, words(&[&names, &value, nulls]))
}

fn words(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().copied().filter(|words| !words.is_empty()).collect();
    words.join(", ")
}

/// What an element is that has to have these columns by themselves.
fn element(needed: &[&str], foreign: &str, random: &mut Random) -> String {
    let quoted = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
        names.join(", ")
    };
    let more = [&["t"][..], &["o"], &["t", "o"], &[]][random.below(4)];
    let more: Vec<_> = more.iter().copied().filter(|name| !needed.contains(name)).collect();
    match random.below(6) {
        0 => String::new(),
        1 | 2 => format!("columns = [{}]", quoted(&[needed, &more].concat())),
        3 => {
            let omitted = [foreign, "n", "t", "name"];
            let omitted: Vec<_> =
                omitted.into_iter().filter(|name| !needed.contains(name)).collect();
            format!("omit = [{}]", quoted(&omitted[..1 + random.below(omitted.len())]))
        }
        kind => {
            let members = needed.iter().enumerate();
            let members: Vec<_> =
                members.map(|(place, name)| format!("a{place} = '{{{name}}}'")).collect();
            let open = ["{o}/l", "{t}/{o}"][usize::from(kind == 5 && random.percent(40))];
            let inner = format!("x = {{ t = '{{t}}', l = [1, '{open}'] }}");
            format!("value = {{ {}, {inner} }}", members.join(", "))
        }
    }
}

impl Link {
    /// The member with these rows, each with what it is as an element.
    pub(super) fn member(&self, mut rows: Vec<(&Row, &[u8])>) -> Vec<u8> {
        let mut out = Vec::new();
        match &self.form {
            Form::Array(order) => {
                rows.sort_by_cached_key(|(row, _)| {
                    order
                        .iter()
                        .map(|column| {
                            let (is_null, number, text) = row.rank(*column);
                            (is_null, number, text.to_owned())
                        })
                        .collect::<Vec<_>>()
                });
                out.push(b'[');
                out.extend(
                    rows.iter().map(|(_, element)| *element).collect::<Vec<_>>().join(&b','),
                );
                out.push(b']');
            }
            Form::Map(columns) => {
                let name = |row: &Row| {
                    let texts: Vec<_> = columns
                        .iter()
                        .map(|column| match column {
                            1 => row.name.to_owned(),
                            _ => row.rank(*column).1.to_string(),
                        })
                        .collect();
                    texts.join(":")
                };
                rows.sort_by_cached_key(|(row, _)| name(row));
                let members = rows.iter().map(|(row, element)| {
                    [format!("\"{}\":", name(row)).as_bytes(), element].concat()
                });
                out.push(b'{');
                out.extend(members.collect::<Vec<_>>().join(&b','));
                out.push(b'}');
            }
        }
        out
    }
}
