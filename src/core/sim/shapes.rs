//! Random shapes, as blocks of the settings: several keys a row, with every filter, and values of every
//! kind.

use super::random::Random;

/// What may stand under a key. A NULL in a text of columns, and the key is not there; `t` is mostly not sent,
/// so a text of several parts with it in it is left open.
const VALUES: [&str; 9] = [
    r#""{t}""#,
    r#""{o}""#,
    r#""{n}-{t}""#,
    r#""{n}{{}}""#,
    r#""on""#,
    r#"{ id = "{id}", n = "{n}", t = "{t}" }"#,
    r#"{ n = "{n}", inner = { o = "{o}", list = ["{t}", 1, "a{o}", { t = "{t}" }] } }"#,
    r#"{ n = "{n}", mixed = "{t}/{o}", t = "{t}" }"#,
    r#"{ n = "{n}", o = "{o}", constant = true }"#,
];

/// Those that are objects.
const OBJECTS: [&str; 4] = [VALUES[5], VALUES[6], VALUES[7], VALUES[8]];

/// The block of a table of this number, of which `key` are the columns of the key; with `full`, all columns are
/// sent of a row that is deleted.
pub(super) fn block(table: usize, key: &[&str], full: bool, random: &mut Random) -> String {
    let nulls = if random.percent(50) { "nulls = 'omit'\n" } else { "" };
    let outputs = [1, 1, 2, 3][random.below(4)];
    if outputs == 1 {
        let value = match random.below(5) {
            0 => String::new(),
            1 => "columns = ['t', 'n', 'o']".to_owned(),
            2 => "omit = ['t']".to_owned(),
            _ => format!("value = {}", value(random)),
        };
        let template = template((table, 0), (key, full), false, random);
        let key = if random.percent(80) { format!("key = '{template}'") } else { String::new() };
        return format!("{key}\n{value}\n{nulls}");
    }
    let shared = random.percent(50);
    let keys = (0..outputs).map(|output| {
        let template = template((table, output), (key, full), shared, random);
        format!("'{template}' = {}\n", value(random))
    });
    let keys: String = keys.collect();
    format!("{nulls}[tables.t.keys]\n{keys}")
}

/// The block of a table of this number, with the key `id`, whose documents have rows of others.
pub(super) fn parent_block(table: usize, random: &mut Random) -> String {
    let nulls = if random.percent(50) { "nulls = 'omit'\n" } else { "" };
    let value = match random.below(5) {
        0 => String::new(),
        1 => "columns = ['t', 'o']".to_owned(),
        2 => "omit = ['t', 'p']".to_owned(),
        _ => format!("value = {}", OBJECTS[random.below(OBJECTS.len())]),
    };
    let template = template((table, 0), (&["id"], false), false, random);
    let key = if random.percent(60) { format!("key = '{template}'") } else { String::new() };
    format!("{key}\n{value}\n{nulls}")
}

fn value(random: &mut Random) -> &'static str {
    VALUES[random.below(VALUES.len())]
}

/// A template of a table's output of this number, in a keyspace that the outputs share, or in its own.
fn template(
    (table, output): (usize, usize),
    (key, full): (&[&str], bool),
    shared: bool,
    random: &mut Random,
) -> String {
    let mut columns = key.to_vec();
    let more = ["name", "o"][random.below(2)];
    if full && !columns.contains(&more) && random.percent(50) {
        columns.push(more);
    }
    let first = random.below(columns.len());
    columns.swap(0, first);
    let start = match random.below(4) {
        _ if shared => format!("/p/x{table}/"),
        0 => format!("/p/x{table}{output}/"),
        1 => format!("/p/x{table}{output}/{{{{}}}}"),
        2 => format!("/p/x{table}-{output}"),
        _ => format!("q{table}/{output}/"),
    };
    let last = columns.len() - 1;
    let wide = random.below(columns.len());
    let filter = match random.below(5) {
        0 if wide == last && !shared => ":raw",
        1 | 2 => ":dns",
        _ => "",
    };
    let mut text = start;
    for (place, column) in columns.into_iter().enumerate() {
        text += if place == 0 { "" } else { ["/", "/l/", "/l"][random.below(3)] };
        text += &format!("{{{column}{}}}", if place == wide { filter } else { "" });
    }
    // This is what tells the keys of a shared keyspace apart.
    text + &if shared { format!("/k{output}") } else { String::new() }
}
