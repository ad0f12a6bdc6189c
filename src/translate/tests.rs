use std::collections::{BTreeMap, HashMap};

use super::*;
use crate::core::change::{Change, Event};
use crate::document::Body;
use crate::error::Unmet;
use crate::kind::Kind;
use crate::lsn::Lsn;
use crate::mapping::Shapes;
use crate::postgres::pgoutput::{Column, Relation, ReplicaIdentity};
use crate::postgres::{ForeignKey, PublishedTable, Relatives, Shape, TableColumn, TableFacts};
use crate::time::PgTime;

const TEXT: u32 = 25;
const CAST: u32 = 20_000;

/// A table of the columns `a`, which is the identity's, `b` and `c`.
fn relation(oid: u32, types: [u32; 3], identity: [bool; 3]) -> Message<'static> {
    let columns = ["a", "b", "c"].into_iter().zip(types).zip(identity);
    Message::Relation(Relation {
        oid,
        schema: "public".to_owned(),
        name: format!("t{oid}"),
        replica_identity: ReplicaIdentity::Default,
        columns: columns
            .map(|((name, type_oid), identity)| Column {
                identity,
                name: name.to_owned(),
                type_oid,
                type_modifier: -1,
            })
            .collect(),
    })
}

fn facts(key: &[&str], cast: bool) -> TableFacts {
    let mut kinds = HashMap::from([(TEXT, Kind::Text)]);
    kinds.extend(cast.then_some((CAST, Kind::Cast { type_oid: CAST })));
    let key = key.iter().map(|&name| name.to_owned()).collect();
    let key = Some(key).filter(|key: &Vec<String>| !key.is_empty());
    TableFacts { key, kinds, ..TableFacts::default() }
}

fn row<'a>(texts: &[Option<&'a str>]) -> Vec<Cell<'a>> {
    texts.iter().map(|text| text.map_or(Cell::Null, |text| Cell::Text(text.as_bytes()))).collect()
}

fn insert<'a>(relation: u32, texts: &[Option<&'a str>]) -> Message<'a> {
    Message::Insert { relation, new: row(texts) }
}

struct Stream {
    tables: Tables,
    casts: Casts,
    chunk: Chunk,
}

impl Stream {
    fn new() -> Self {
        let (casts, chunk) = (Casts::default(), Chunk::default());
        Self { tables: Tables::new(Shapes::new("p", BTreeMap::new())), casts, chunk }
    }

    fn add(&mut self, message: &Message<'_>) -> Need {
        translate(message, &mut self.tables, &mut self.casts, &mut self.chunk).expect("a message")
    }

    fn describe(&mut self, relation: Message<'static>, facts: &TableFacts) -> bool {
        let Message::Relation(Relation { oid, .. }) = relation else { panic!("{relation:?}") };
        assert_eq!(self.add(&relation), Need::Nothing);
        self.tables.describe(oid, facts).expect("a description").guessed
    }

    fn changes(&self) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let change = |event| match event {
            Event::Change(Change::Put { key, body: Body::Whole(body), old_key }) => {
                let old_key = old_key.map(|old| format!(" was {}", text(old))).unwrap_or_default();
                Some(format!("{}{old_key} {}", text(key), text(body)))
            }
            Event::Change(Change::Delete { key }) => Some(format!("-{}", text(key))),
            Event::Change(Change::Truncate { prefix }) => Some(format!("-{}*", text(prefix))),
            _ => None,
        };
        self.chunk.events().filter_map(change).collect()
    }
}

#[test]
fn a_table_is_asked_for_at_its_first_row() {
    let mut stream = Stream::new();
    let relation = relation(7, [TEXT; 3], [true, false, false]);
    assert_eq!(stream.add(&relation), Need::Nothing);
    let message = insert(7, &[Some("1"), None, Some("x")]);
    assert_eq!(stream.add(&message), Need::Description(7));
    assert_eq!(stream.tables.column_types(7), [TEXT; 3]);
    assert!(!stream.tables.describe(7, &facts(&["a"], false)).expect("one").guessed);
    assert_eq!(stream.add(&message), Need::Nothing);
    assert_eq!(stream.changes(), [r#"/p/t7/1 {"a":"1","b":null,"c":"x"}"#]);
    let truncate =
        Message::Truncate { relations: vec![7], cascade: false, restart_identity: false };
    assert_eq!(stream.add(&truncate), Need::Nothing);
    assert_eq!(stream.changes()[1..], ["-/p/t7/*"]);
    let (tables, casts, chunk) = (&mut stream.tables, &mut stream.casts, &mut stream.chunk);
    for message in [insert(8, &[Some("1")]), insert(7, &[Some("1")])] {
        assert!(translate(&message, tables, casts, chunk).is_err(), "{message:?}");
    }
}

#[test]
fn a_row_that_is_not_known_changes_nothing_and_asks_for_a_compare() {
    let mut stream = Stream::new();
    stream.describe(relation(7, [TEXT; 3], [true, true, false]), &facts(&["b", "a"], false));
    // A partition's old tuple has the columns of the partition's own identity.
    let old = row(&[Some("1"), None, None]);
    let delete = Message::Delete { relation: 7, old: OldTuple::Key(old.clone()) };
    assert_eq!(stream.add(&delete), Need::Compare(7));
    assert_eq!(stream.changes(), [""; 0]);
    let new = row(&[Some("2"), Some("x"), None]);
    let update = Message::Update { relation: 7, old: Some(OldTuple::Key(old)), new };
    assert_eq!(stream.add(&update), Need::Compare(7));
    assert_eq!(stream.changes(), [r#"/p/t7/x/2 {"a":"2","b":"x","c":null}"#]);
    assert_eq!(stream.add(&insert(7, &[None, Some("x"), None])), Need::Compare(7));
    assert_eq!(stream.changes().len(), 1);
}

#[test]
fn rows_wait_for_casts_together_and_in_order() {
    let mut stream = Stream::new();
    stream.describe(relation(7, [TEXT, CAST, TEXT], [true, false, false]), &facts(&["a"], true));
    stream.describe(relation(8, [TEXT; 3], [true, false, false]), &facts(&["a"], false));
    let messages = [
        insert(7, &[Some("1"), Some("x"), None]),
        insert(8, &[Some("2"), None, None]),
        insert(7, &[Some("3"), Some("y"), None]),
        relation(9, [TEXT; 3], [true, false, false]),
        Message::Commit { commit_lsn: Lsn(1), commit_end_lsn: Lsn(2), commit_time: PgTime(0) },
    ];
    for message in &messages {
        assert_eq!(stream.add(message), Need::Casts, "{message:?}");
    }
    let of_later_table = insert(9, &[Some("1"), None, None]);
    assert_eq!(stream.add(&of_later_table), Need::Casts);
    assert!(stream.chunk.events().next().is_none());
    for (type_oid, mut texts) in stream.casts.take_wanted() {
        texts.sort();
        assert_eq!((type_oid, texts.len()), (CAST, 2));
        for text in texts {
            let json = format!("[{}]", text[0]).into_bytes();
            stream.casts.learn(type_oid, text, Some(json));
        }
    }
    for message in &messages {
        assert_eq!(stream.add(message), Need::Nothing, "{message:?}");
    }
    let expected = [
        r#"/p/t7/1 {"a":"1","b":[120],"c":null}"#,
        r#"/p/t8/2 {"a":"2","b":null,"c":null}"#,
        r#"/p/t7/3 {"a":"3","b":[121],"c":null}"#,
    ];
    assert_eq!(stream.changes(), expected);
    assert!(stream.chunk.is_complete());
    assert_eq!(stream.add(&of_later_table), Need::Description(9));
}

#[test]
fn a_catalog_that_is_behind_or_ahead_is_asked_again() {
    for (identity, key, kinds, guessed, expected) in [
        // The transaction that made the table is not visible yet.
        ([true, false, false], &[][..], true, true, Some("/p/t7/1")),
        ([true, true, false], &[], true, true, Some("/p/t7/1/2")),
        // A column of the key was renamed since.
        ([true, true, false], &["b", "id"], true, true, Some("/p/t7/2/1")),
        ([true, false, false], &["id"], true, true, Some("/p/t7/1")),
        // A type is not visible yet.
        ([true, false, false], &["a"], false, true, Some("/p/t7/1")),
        // A table without a key, and one whose key is not published as a whole.
        ([false; 3], &[], true, false, None),
        ([true, false, false], &["a", "z"], true, false, None),
        // The catalog knows the order.
        ([true, true, false], &["b", "a"], true, false, Some("/p/t7/2/1")),
    ] {
        let mut stream = Stream::new();
        let found = stream.describe(relation(7, [TEXT, TEXT, CAST], identity), &facts(key, kinds));
        assert_eq!(found, guessed, "{identity:?} {key:?}");
        let message = insert(7, &[Some("1"), Some("2"), None]);
        assert_eq!(stream.add(&message), Need::Nothing);
        let changes = stream.changes();
        let key = changes.first().map(|change| change.split_once(' ').expect("a put").0);
        assert_eq!(key, expected, "{identity:?}");
        let begin = Message::Begin { final_lsn: Lsn(9), commit_time: PgTime(0), xid: 1 };
        assert_eq!(stream.add(&begin), Need::Nothing);
        let need = if guessed { Need::Description(7) } else { Need::Nothing };
        assert_eq!(stream.add(&message), need);
    }
}

#[test]
fn a_table_is_described_with_those_that_it_is_nested_in() {
    let blocks = "[tables.t7]\nnest.m = { table = 't8' }\n";
    let column =
        |name: &str| TableColumn { name: name.to_owned(), type_oid: TEXT, kind: Kind::Text };
    let parent = PublishedTable {
        oid: 7,
        name: "t7".parse().expect("a name"),
        columns: ["a", "b", "c"].map(column).into(),
        key: Some(vec!["a".to_owned()]),
        full_identity: false,
        row_filter: None,
        partitioned: false,
        unlogged_partitions: Vec::new(),
        estimated_rows: 0,
        shape: Shape::default(),
    };
    let foreign_key = |own: &str| ForeignKey {
        name: "f".to_owned(),
        table: 8,
        parent: 7,
        columns: vec![(own.to_owned(), "a".to_owned())],
        validated: true,
        unlike: Vec::new(),
        facts: String::new(),
    };
    for (own, filter, nests) in [("b", None, 1), ("renamed", None, 0), ("b", Some("true"), 0)] {
        let mut stream = Stream::new();
        stream.tables = Tables::new(Shapes::new("p", crate::config::block::shapes_of(blocks)));
        let parent = PublishedTable { row_filter: filter.map(str::to_owned), ..parent.clone() };
        let relatives = Relatives { tables: vec![parent], foreign_keys: vec![foreign_key(own)] };
        let facts = TableFacts { relatives, ..facts(&["a", "b"], false) };
        assert!(!stream.describe(relation(8, [TEXT; 3], [true, true, false]), &facts));
        let names: Vec<_> =
            stream.tables.relatives(8).iter().map(|name| name.name.clone()).collect();
        assert_eq!(names, ["t8", "t7"]);
        assert_eq!(stream.tables.nests(8).len(), nests, "{own} {filter:?}");
        // Whatever it is not known of, the documents that it may be in are compared too.
        assert_eq!(stream.tables.to_compare(8), [b"/p/t7/", b"/p/t8/"]);
        // Without keys of its own it stays in them.
        stream.tables.leave_out(8, Unmet::new("taken", "give"));
        assert!(stream.tables.keyspaces(8).is_empty());
        assert_eq!(stream.tables.nests(8).len(), nests, "{own} {filter:?}");
        stream.tables.leave_nests_out(8, &"t7".parse().expect("a name"));
        assert!(stream.tables.nests(8).is_empty());
    }
}
